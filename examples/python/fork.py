"""Several sandboxes that go on from one's memory and disk."""
from e2b import Sandbox

sandbox = Sandbox.create(timeout=120)
sandbox.files.write("prepared.txt", "expensive to make\n")

# A fork that failed is an exception in the list.
children = [child for child in sandbox.fork(count=3, timeout=120) if isinstance(child, Sandbox)]
for number, child in enumerate(children):
    child.files.write("mine.txt", f"child {number}")
for child in children:
    print(child.sandbox_id, child.files.read("prepared.txt").strip(), "/", child.files.read("mine.txt"))
print("the source has none of it:", not sandbox.files.exists("mine.txt"))

for each in (sandbox, *children):
    each.kill()
