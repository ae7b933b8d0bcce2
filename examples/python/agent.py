"""An agent's loop: run generated code, show its author what happened, until it works.

A fixed list of snippets stands in for a model here, as a model would write them: wrong first, then better.
Put the call of your model into `generate`.
"""
from e2b import CommandExitException, Sandbox

TASK = "Print the ten largest primes below 1000, as a JSON list."
ATTEMPTS = [
    "import sympy\nprint(list(sympy.primerange(1000))[-10:])",
    "primes = [n for n in range(2, 1000) if all(n % d for d in range(2, n))\nprint(primes[-10:])",
    "import json\nprimes = [n for n in range(2, 1000) if all(n % d for d in range(2, int(n ** .5) + 1))]\n"
    "print(json.dumps(primes[-10:]))",
]


def generate(task, history):
    """The next program; `history` holds each earlier one and what became of it."""
    return ATTEMPTS[len(history)]


history = []
with Sandbox.create(timeout=120) as sandbox:
    while len(history) < len(ATTEMPTS):
        code = generate(TASK, history)
        sandbox.files.write("attempt.py", code)
        try:
            result = sandbox.commands.run("python3 attempt.py", timeout=20)
        except CommandExitException as error:
            reason = error.stderr.strip().splitlines()[-1]
            print(f"attempt {len(history) + 1}: {reason}")
            history.append((code, error.stderr))
            continue
        print(f"attempt {len(history) + 1}: {result.stdout.strip()}")
        break
