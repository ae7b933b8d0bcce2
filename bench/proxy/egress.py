# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""bench_proxy's section on the way out of a guest, through the gateway (src/egress) and the bridge (src/intercept).

Three sandboxes ask the same HTTPS server, on a namespace that plays the internet: one whose rules let its address through, so
that packets pass NAT alone (the rival); one that may by name, whose TLS the daemon relays; one whose requests get a header with
a secret in it, so that the daemon ends TLS and begins it anew. Client and server are the same for all.

Then once more with the client in the guests' place: a namespace on a veth that bears the name of the slot's TAP, at the
guest's address. All rules of the slot hold for it as for the guest, but no emulated CPU is the limit.
"""
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from harness import BUILD, PREFIX, Daemon, wait_for
from network_test import INTERNET, Internet, ip
from table import row

HERE = pathlib.Path(__file__).resolve().parent
ADDRESS, NAME = "203.0.113.1", "api.example.test"
GUEST, GATEWAY, TAP = "169.254.0.21", "169.254.0.22", "tap0"
BEHIND = 8000  # of the server: who reads bodies
SIZE = 64 << 20
NAMES = ("plain", "by name", "intercepted")
RULES = {
    "plain": {"allowOut": [ADDRESS]},
    "by name": {"allowOut": [NAME]},
    "intercepted": {"allowOut": [NAME],
                    "rules": {NAME: [{"transform": {"headers": {"Authorization": "Bearer ${e2b.secrets.bench-key}"}}}]}},
}
# Names alone: the web server is a program of its own.
DNS = f"""
import socket, struct
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sock.bind(("203.0.113.53", 53))
print("up", flush=True)
while True:
    query, peer = sock.recvfrom(512)
    end = query.index(b"\\0", 12) + 5
    found = query[end - 4:end - 2] == b"\\0\\1"
    answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4" + socket.inet_aton("{ADDRESS}") if found else b""
    sock.sendto(query[:2] + b"\\x81\\x80\\0\\1" + struct.pack(">H", int(found)) + b"\\0\\0\\0\\0" + query[12:end] + answer, peer)
"""
NGINX_CONF = """
worker_processes 1; pid {home}/pid; error_log {home}/error.log; daemon off; user root;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_max_body_size 0; client_body_temp_path {home}/body-temp; proxy_temp_path {home}/temp;
  keepalive_requests 1000000000;
  upstream behind {{ server 127.0.0.1:{behind}; keepalive 8; }}
  server {{
    listen {address}:443 ssl;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    location = /128 {{ return 200 "{answer}"; }}
    location = /body {{ root {home}; }}
    location = /up {{
      proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off;
    }}
  }}
}}
"""


@contextlib.contextmanager
def serving(command, host, port):
    """`command` on the internet, from when it listens."""
    enter = ["nsenter", f"--net=/run/netns/{INTERNET}"]
    process = subprocess.Popen(enter + command, stdin=subprocess.DEVNULL)
    try:
        probe = f"import socket; socket.create_connection(('{host}', {port}), timeout=1)"
        wait_for(lambda: subprocess.run([*enter, sys.executable, "-c", probe], capture_output=True).returncode == 0, 20,
                 f"{command[0]} listens")
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def server(internet):
    with tempfile.TemporaryDirectory(prefix="bench-egress-") as home:
        with open(f"{home}/body", "wb") as body:
            body.write(b"x" * SIZE)
        conf = pathlib.Path(home) / "nginx.conf"
        conf.write_text(NGINX_CONF.format(home=home, behind=BEHIND, address=ADDRESS, answer="x" * 128,
                                          certificate=internet.certificate, key=f"{internet.directory.name}/key.pem"))
        with serving([str(BUILD / "bench/proxy/bench_server"), str(BEHIND)], "127.0.0.1", BEHIND), \
             serving(["nginx", "-p", home, "-e", f"{home}/error.log", "-c", str(conf)], ADDRESS, 443):
            yield


class InGuest:
    """A sandbox of such rules."""

    def __init__(self, daemon, rules):
        self.daemon = daemon
        body = {"templateID": "base", "timeout": 3600, "network": {"denyOut": ["0.0.0.0/0"], **rules}}
        status, _, answer = daemon.api("POST", "/v2/sandboxes", body)
        if status != 201:
            raise RuntimeError(answer)
        self.id = answer["sandboxID"]
        self.slot = f"{PREFIX}-{daemon.inspect(self.id)['slot']}"
        daemon.tb("cp", str(HERE / "out_client.py"), f"{self.id}:/home/user/out_client.py")

    def run(self, *arguments):
        return self.daemon.tb("exec", self.id, "--", "python3", "out_client.py", *arguments, timeout=600).stdout


class InItsPlace:
    """Another on its link. The guest is out of reach from then on."""

    def __init__(self, guest, number):
        self.netns = f"tbstandin{number}"
        subprocess.run(["ip", "netns", "del", self.netns], capture_output=True)
        ip("netns", "add", self.netns)
        ip("-n", guest.slot, "link", "set", TAP, "down")
        ip("-n", guest.slot, "link", "set", TAP, "name", "guest0")
        ip("-n", guest.slot, "address", "flush", "dev", "guest0")
        ip("-n", guest.slot, "link", "add", TAP, "type", "veth", "peer", "name", "eth0", "netns", self.netns)
        ip("-n", guest.slot, "address", "add", f"{GATEWAY}/30", "dev", TAP)
        ip("-n", guest.slot, "link", "set", TAP, "up")
        for command in (("address", "add", f"{GUEST}/30", "dev", "eth0"), ("link", "set", "eth0", "up"),
                        ("route", "add", "default", "via", GATEWAY)):
            ip("-n", self.netns, *command)

    def run(self, *arguments):
        return subprocess.run(["nsenter", f"--net=/run/netns/{self.netns}", sys.executable, str(HERE / "out_client.py"), *arguments],
                              stdout=subprocess.PIPE, text=True, check=True, timeout=600).stdout

    def close(self):
        subprocess.run(["ip", "netns", "del", self.netns], capture_output=True)


def used(pid):
    """CPU time of all threads of a process, in seconds (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def turns(places, pid, kind, callers, amount, rounds):
    """For each name, (rate, the daemon's CPU time for each in µs) of every round; all take turns, a warm-up first."""
    figures = {name: [] for name in NAMES}
    for number in range(rounds + 1):
        for name in NAMES:
            before = used(pid)
            done = json.loads(places[name].run(kind, ADDRESS, NAME, str(callers), str(amount)))
            cost = (used(pid) - before) * 1e6 / done["count"]
            if number > 0:
                figures[name].append((done["rate"], cost))
    return figures


def show(what, figures, unit, each, cpu):
    for name in NAMES:
        row(f"{what}: {name}", [rate for rate, _ in figures[name]], None, unit=unit)
        if name != "plain":
            row("  of plain", [ours / theirs * 100 for (ours, _), (theirs, _) in zip(figures[name], figures["plain"])], None, unit="%")
            if cpu:  # a command in a guest is the daemon's work, too
                row(f"  CPU time of the daemon for each {each}", [cost for _, cost in figures[name]], None, unit="µs")


def measure(places, pid, where, rounds, seconds, cpu):
    for callers in (1, 4):
        what = f"{where}, requests, {callers} at once"
        show(what, turns(places, pid, "requests", callers, seconds, rounds), "1/s", "request", cpu)
    show(f"{where}, new connections", turns(places, pid, "connections", 1, seconds, rounds), "1/s", "connection", cpu)
    for way in ("down", "up"):
        show(f"{where}, 64 MiB {way}", turns(places, pid, way, 1, SIZE, rounds), "MiB/s", "MiB", cpu)


def run(begin, rounds, seconds):
    with contextlib.ExitStack() as stack:
        internet = Internet(DNS)
        stack.callback(internet.close)
        stack.enter_context(server(internet))
        daemon = Daemon()
        stack.callback(daemon.cleanup)
        config = daemon.config.read_text()
        daemon.config.write_text(config.replace("[network]\n", f'[network]\nca_file = "{internet.certificate}"\n'))
        daemon.start()
        begin(daemon)
        stack.callback(daemon.tb, "rm", "--all", check=False)
        daemon.tb("secret", "set", "bench-key", input="a-key-as-long-as-many-a-service-gives-them-out")
        stack.callback(daemon.tb, "secret", "rm", "-f", "bench-key", check=False)
        guests = {name: InGuest(daemon, RULES[name]) for name in NAMES}
        pid = daemon.process.pid
        measure(guests, pid, "out of a guest", rounds, seconds, cpu=False)
        places = {}
        for number, name in enumerate(NAMES):
            places[name] = InItsPlace(guests[name], number)
            stack.callback(places[name].close)
        measure(places, pid, "from its place", rounds, seconds, cpu=True)
