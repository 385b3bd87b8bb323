# Sourced by the scripts beside it: strict mode, the folder to work in, and their helpers.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A checkout is built once: the state of incremental builds would only fill the disk.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}

# Where `ci/tools` keeps what it installs: each tool in a folder of its own, named by its version.
MANILA_TOOLS=${MANILA_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/manila-ci}
export MANILA_TOOLS

# say WORD...: tells what is about to run.
say() { printf -- '-- %s\n' "$*"; }

# run COMMAND...: tells the command and runs it.
run() {
    say "$*"
    "$@"
}

# fail WORD...: ends the script with a message.
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# need COMMAND WORD...: ends the script if the command is missing, and says where it comes from.
need() {
    command -v "$1" >/dev/null || fail "$1 is missing: ${*:2}"
}

# use TOOL...: installs each tool if it is not there yet, and puts it on the path.
use() {
    local folder folders
    folders=$(ci/tools "$@")
    while read -r folder; do PATH=$folder:$PATH; done <<<"$folders"
    export PATH
}

# The members of the workspace that are published, in the order of their dependencies, and as arguments for cargo.
published=(manila-lanes manila-core manila-local-kms manila-aws manila manila-object-store manila-cli)
published_args=()
for package in "${published[@]}"; do published_args+=(-p "$package"); done
