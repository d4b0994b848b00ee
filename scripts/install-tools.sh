#!/usr/bin/env bash
# Installs the Debian packages, the Python environment and the Node.js packages that a make target needs.
#
#   scripts/install-tools.sh GROUP...      groups: build guest qemu nbd bench test python node
#
# Quick and silent when everything is there. Installs as root or through sudo, never asks a question, and
# touches the package lists only when something is missing. The Rust toolchain is not installed here.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly LOCK_WAIT_SECONDS=300 # a fresh machine may be busy with its own first upgrade
readonly VENV=.venv
readonly REQUIREMENTS=tests/requirements.txt
readonly NODE_DIR=.cache/node
readonly NODE_SDK=tencentcloud-sdk-nodejs@4.1.313

say() { printf 'install-tools: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

packages_of() {
    case $1 in
        build) echo gcc libc6-dev make pkg-config git ca-certificates ;;
        guest) echo mmdebstrap extlinux syslinux-common systemd-boot-efi fdisk e2fsprogs xfsprogs dosfstools mtools util-linux \
            mount zstd qemu-utils openssh-client ;;
        qemu) echo qemu-system-x86 qemu-utils ovmf ;;
        nbd) echo libnbd-bin nbdkit ;;
        bench) echo fio qemu-utils libnbd-bin ;;
        test) echo e2fsprogs fdisk util-linux mount xorriso curl openssl openssh-client xfsprogs dosfstools mtools ntfs-3g \
            btrfs-progs libhivex-bin cpio gzip xz-utils zstd lz4 bzip2 rclone vncsnapshot chromium ;;
        python | node) echo ;;
        *) die "unknown group '$1' (build guest qemu nbd bench test python node)" ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root: run it as root, or install sudo (wanted: $*)"
    fi
}

apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=$LOCK_WAIT_SECONDS "$@" >&2; }

# Prints those of the given packages that are not installed.
missing_of() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

# Whether the archive offers package $1 in version $2. Not `grep -q`: apt-cache would die of a closed pipe.
offered() { apt-cache madison "$1" | awk -v v="$2" '$3 == v && $5 ~ /:/ { found = 1 } END { exit !found }'; }

# QEMU's packages depend on each other in one exact version. Where an installed one is newer than what the archive
# has (a backport), an ordinary installation of its sibling fails or removes it; so all of them are asked for in the
# archive's version of qemu-system-x86. Prints `package=version` arguments for that.
pinned_qemu_packages() {
    local version package wanted
    version=$(apt-cache policy qemu-system-x86 | awk '$1 == "Candidate:" { print $2 }')
    case $version in
        '' | '(none)') die "the configured package archives offer no qemu-system-x86" ;;
    esac
    {
        printf 'qemu-system-x86\nqemu-utils\n'
        dpkg-query -W -f '${db:Status-Status} ${source:Package} ${Package}\n' | awk '$1 == "installed" && $2 == "qemu" { print $3 }'
    } | sort -u | while read -r package; do
        # A rebuild (+b3) exists for architecture-dependent packages only; the others keep the plain version.
        for wanted in "$version" "${version%+b[0-9]*}"; do
            if offered "$package" "$wanted"; then
                echo "$package=$wanted"
                break
            fi
        done
    done
}

install_packages() {
    local missing=("$@") pinned=()
    say "installing ${missing[*]}"
    apt update || say "updating the package lists failed; going on with the lists that are here"
    case " ${missing[*]} " in
        *' qemu-system-x86 '* | *' qemu-utils '*)
            mapfile -t pinned < <(pinned_qemu_packages)
            [ ${#pinned[@]} -gt 0 ] || exit 1
            ;;
    esac
    apt install -y --no-install-recommends --allow-downgrades "${pinned[@]}" \
        $(printf '%s\n' "${missing[@]}" | grep -vx -e qemu-system-x86 -e qemu-utils)
}

# The Python environment of the end-to-end tests and the demo; made again when the requirements change.
install_python() {
    local python stamp
    stamp=$(sha256sum <"$REQUIREMENTS")
    [ -x $VENV/bin/python ] && [ "$(cat $VENV/requirements.sha256 2>/dev/null)" = "$stamp" ] && return
    python=$(command -v python3 || true)
    if [ -z "$python" ] || ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        local missing
        mapfile -t missing < <(missing_of python3 python3-venv)
        [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
        python=/usr/bin/python3
    fi
    say "installing the Python packages of $REQUIREMENTS into $VENV"
    "$python" -m venv --clear $VENV
    # Not compiled: of the SDKs' thousands of modules, few are ever imported.
    $VENV/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --requirement "$REQUIREMENTS" >&2
    printf '%s\n' "$stamp" >$VENV/requirements.sha256
}

# The SDK for Node.js that the end-to-end tests drive; installed again when its version changes.
install_node() {
    [ "$(cat $NODE_DIR/installed 2>/dev/null)" = "$NODE_SDK" ] && command -v node >/dev/null && return
    # Where npm came with another Node.js than Debian's, that one serves.
    command -v npm >/dev/null || install_packages nodejs npm
    say "installing $NODE_SDK into $NODE_DIR"
    rm -rf $NODE_DIR
    mkdir -p $NODE_DIR
    npm install --prefix $NODE_DIR --no-audit --no-fund --ignore-scripts --no-save --silent "$NODE_SDK" >&2
    printf '%s\n' "$NODE_SDK" >$NODE_DIR/installed
}

[ $# -gt 0 ] || die "which groups? (build guest qemu nbd bench test python node)"
wanted=()
for group in "$@"; do
    packages=$(packages_of "$group")
    # shellcheck disable=SC2206 # package names hold no spaces
    wanted+=($packages)
done
mapfile -t missing < <(missing_of "${wanted[@]}" | sort -u)
[ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
for group in "$@"; do
    case $group in
        python) install_python ;;
        node) install_node ;;
    esac
done
