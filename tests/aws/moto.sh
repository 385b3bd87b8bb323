#!/usr/bin/env bash
# Serves moto, a stand-in for AWS KMS, on a port of 127.0.0.1: the given one, or any that is free. Prints "ready PORT".
# It is one process, and ends with its standard input too: whoever started it may be killed and leaves nothing behind.
set -euo pipefail
: "${ESDK_INTEROP_DIR:?run tests/interop/setup.sh first}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "$ESDK_INTEROP_DIR/venv/bin/python" "$here/moto_kms.py" "${1:-0}" 2>"${MOTO_LOG:-/dev/null}"
