"""Files for the benchmark: 300 modules and a program that imports them, 100,000 empty files."""

import os

os.mkdir("/modules")
for number in range(300):
    with open(f"/modules/m{number:03}.py", "w") as module:
        module.write("x = 1\n")
with open("/import.py", "w") as program:
    program.write("import importlib, sys\nsys.path.insert(0, '/modules')\n")
    program.write("for number in range(300):\n    importlib.import_module(f'm{number:03}')\n")
os.mkdir("/distinct")
for number in range(100_000):
    open(f"/distinct/{number:04}", "w").close()
