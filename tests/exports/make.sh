#!/usr/bin/env bash
# Makes the exports that tests read anew, with the real tools, each in an environment of its own. From the repository's root:
# make test-integration installs Label Studio first.
set -euo pipefail
cd "$(dirname "$0")/../.."
.venv/bin/python -m tests.exports.make_label_studio "${LABEL_STUDIO:-.venv-label-studio/bin/label-studio}"
test -d .venv-argilla || { python3 -m venv .venv-argilla && .venv-argilla/bin/pip install --quiet argilla==2.8.0 requests; }
.venv/bin/crowd-rounds exchange argilla tests/exports/comparison_tasks.jsonl --out build/argilla
.venv-argilla/bin/python tests/exports/make_argilla.py build/argilla
