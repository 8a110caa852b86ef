"""`python -m tests.bench [NAME …]`: all benches, or those named. Each is a module here with a `main`."""

import importlib
import sys

BENCHES = ("media", "codec", "rooms", "churn", "wer", "seamless", "lag", "join", "browser", "moshi", "placement")


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"There is no bench {unknown[0]!r}; there are: {', '.join(BENCHES)}.", file=sys.stderr)
        return 2
    for name in names or BENCHES:
        print(f"\n== {name}: python -m tests.bench.{name}")
        importlib.import_module(f"tests.bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
