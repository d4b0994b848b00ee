//! The system calls that a confined process may still make: to use its socket, its memory, a clock, and to end.
//!
//! Any other is refused with an error, as if it had not the right; so is a signal to anybody but itself.

use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule,
};

/// What the standard library, the allocator and the readers of file systems need once everything is open.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_close,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_geteuid,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Lets this process make no other calls from now on.
///
/// # Errors
/// Where the kernel takes no filter.
pub(super) fn forbid_the_rest() -> io::Result<()> {
    let own = u64::from(std::process::id());
    let to_itself = Condition::new(0, Len::Dword, Op::Eq, own).map_err(io::Error::other)?;
    let to_itself = SeccompRule::new(vec![to_itself]).map_err(io::Error::other)?;
    // An abort is a signal to oneself.
    let signals = [libc::SYS_tgkill, libc::SYS_kill].map(|call| (call, vec![to_itself.clone()]));
    let rules = ALLOWED.iter().map(|call| (*call, Vec::new())).chain(signals).collect();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let target = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, target).map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}
