# A guest of a few instructions that a processor must run for Linux to have a chance: real mode, protected mode,
# long mode with paging, the model-specific registers every 64-bit kernel writes, SSE and XSAVE, user mode and
# back by SYSCALL, and a local APIC timer whose interrupts wake a halted processor.
#
# It is the machine's firmware: 64 KiB at F000:0000, entered by the jump that the prober puts at F000:FFF0.
# Success is one byte (SUCCESS) written to the isa-debug-exit device at 0xf4; everything else is a failure.
#
#   as --64 -o probe.o probe.S && ld -Ttext=0xf0000 --oformat binary -o probe.bin probe.o

        .set SUCCESS, 0x2a
        .set EXIT_PORT, 0xf4
        .set TABLES, 0x10000            # PML4, PDPT, four page directories
        .set IDT, 0x20000
        .set TICKS, 0x30000             # interrupts seen
        .set WANTED_TICKS, 16
        .set STACK, 0x40000
        .set APIC, 0xfee00000
        .set VECTOR, 0x40

        .text
        .globl _start
        .code16
_start: cli
        cld
        lgdtl   %cs:(gdt_pointer - _start)
        mov     %cr0, %eax
        or      $1, %eax
        mov     %eax, %cr0
        ljmpl   $0x08, $protected

        .code32
protected:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $STACK, %esp
        # Identity map of 4 GiB in 2 MiB pages, open to user mode.
        mov     $TABLES, %edi
        xor     %eax, %eax
        mov     $0x2000 / 4, %ecx
        rep stosl
        movl    $TABLES + 0x1007, TABLES
        mov     $TABLES + 0x2007, %eax
        mov     $TABLES + 0x1000, %edi
        mov     $4, %ecx
1:      mov     %eax, (%edi)
        add     $0x1000, %eax
        add     $8, %edi
        loop    1b
        mov     $0x87, %eax
        mov     $TABLES + 0x2000, %edi
        mov     $2048, %ecx
2:      mov     %eax, (%edi)
        movl    $0, 4(%edi)
        add     $0x200000, %eax
        add     $8, %edi
        loop    2b
        mov     $TABLES, %eax
        mov     %eax, %cr3
        mov     %cr4, %eax
        or      $0x620, %eax            # PAE, OSFXSR, OSXMMEXCPT
        mov     %eax, %cr4
        mov     $0xc0000080, %ecx       # EFER: SCE, LME
        rdmsr
        or      $0x101, %eax
        wrmsr
        mov     %cr0, %eax
        and     $0xfffffffb, %eax       # EM off
        or      $0x80010002, %eax       # PG, WP, MP
        mov     %eax, %cr0
        ljmp    $0x18, $long

        .code64
long:   mov     $0x10, %eax
        mov     %eax, %ss
        mov     $STACK, %esp
        # Processor identification traps under virtualisation: many times.
        mov     $64, %r15d
3:      mov     $1, %eax
        xor     %ecx, %ecx
        cpuid
        dec     %r15d
        jnz     3b
        bt      $26, %ecx               # XSAVE
        jnc     4f
        mov     %cr4, %rax
        bts     $18, %rax
        mov     %rax, %cr4
        xor     %ecx, %ecx
        xgetbv
        or      $3, %eax
        xsetbv
4:      movd    %eax, %xmm0
        pshufd  $0, %xmm0, %xmm1
        pcmpeqd %xmm0, %xmm0
        rdtsc
        # The registers a kernel sets before its first process.
        mov     $0x277, %ecx            # PAT: read and write back
        rdmsr
        wrmsr
        mov     $0xc0000101, %ecx       # GS base
        rdmsr
        wrmsr
        mov     $0xc0000084, %ecx       # syscall flag mask
        mov     $0x700, %eax
        xor     %edx, %edx
        wrmsr
        mov     $0xc0000081, %ecx       # STAR: kernel 0x18, user 0x20 + 16
        xor     %eax, %eax
        mov     $0x00200018, %edx
        wrmsr
        mov     $0xc0000082, %ecx       # LSTAR
        mov     $from_user, %eax
        xor     %edx, %edx
        wrmsr
        # To user mode, interrupts off, and back.
        push    $0x2b
        push    $STACK
        push    $2
        push    $0x33
        mov     $user, %eax
        push    %rax
        iretq
user:   xor     %eax, %eax
        syscall
        ud2

from_user:
        mov     $STACK, %esp
        # One gate of the interrupt table is enough: a fault finds none and ends the machine.
        mov     $IDT, %edi
        xor     %eax, %eax
        mov     $0x1000 / 4, %ecx
        rep stosl
        mov     $tick, %eax
        mov     $IDT + VECTOR * 16, %edi
        mov     %ax, (%rdi)
        movw    $0x18, 2(%rdi)
        movw    $0x8e00, 4(%rdi)
        shr     $16, %eax
        mov     %ax, 6(%rdi)
        lidt    idt_pointer
        movl    $0, TICKS
        mov     $APIC, %ebx
        movl    $0x1ff, 0xf0(%rbx)      # enable, spurious vector 0xff
        movl    $0xb, 0x3e0(%rbx)       # divide by one
        movl    $VECTOR, 0x320(%rbx)    # one shot
        movl    $50000, 0x380(%rbx)
5:      sti
        hlt
        cli
        cmpl    $WANTED_TICKS, TICKS
        jb      5b
        mov     $SUCCESS, %eax
        out     %eax, $EXIT_PORT
6:      hlt
        jmp     6b

tick:   push    %rbx
        incl    TICKS
        mov     $APIC, %ebx
        movl    $0, 0xb0(%rbx)          # end of interrupt
        movl    $50000, 0x380(%rbx)     # again
        pop     %rbx
        iretq

        .balign 8
gdt:    .quad 0
        .quad 0x00cf9a000000ffff        # 08: code, 32 bit
        .quad 0x00cf92000000ffff        # 10: data
        .quad 0x00af9a000000ffff        # 18: code, 64 bit
        .quad 0x00cf92000000ffff        # 20: data (SYSCALL's stack segment)
        .quad 0x00cff2000000ffff        # 28: user data
        .quad 0x00affa000000ffff        # 30: user code, 64 bit
gdt_end:
gdt_pointer:
        .word gdt_end - gdt - 1
        .long gdt
idt_pointer:
        .word 0xfff
        .quad IDT
