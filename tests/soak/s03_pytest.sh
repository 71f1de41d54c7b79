#!/usr/bin/env bash
# A few tests, some quick, one that waits, again and again.
. "$(dirname "$0")/../zoo/programs/zoo.sh"
cd "$ZOO_DIR" || exit 1
cat > test_sums.py <<'T'
import time
import pytest

@pytest.mark.parametrize("n", range(50))
def test_sum(n):
    assert sum(range(n)) == n * (n - 1) // 2

def test_slow_service():
    time.sleep(3)
T
mark
while :; do
  "$ZOO_VENV/bin/python" -m pytest -q -p no:cacheprovider test_sums.py || exit 1
done
