# An agent gone mad: until a file is there it writes garbage, as fast as it can, into every way there is to speak.
import os, random, signal, socket, sys, threading, time


def goes_on():
    return not os.path.exists(sys.argv[1])


noise = random.Random(7).randbytes(1 << 20)  # newlines and NULs are among it
GARBAGE = [
    noise,
    b"x" * (10 << 20),  # ten megabytes without an end
    b"x" * 8193 + b"\n",
    b"progress=150\n" * 5000,
    b"progress=NaN\nprogress=-1\ntask=a task=b\n\0\n\xff\xfe\n" * 2000,
    b'{"task":' + b"[" * 4000 + b"\n",
    b'{"type":"result","usage":{"output_tokens":-1}}\n' * 2000,
]
signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def stream():
    while goes_on():
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(1)
            try:
                s.connect(os.environ["HB_SOCKET"])
                for garbage in GARBAGE:
                    s.sendall(garbage)  # answers are never read
            except OSError:
                pass


def datagrams():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        while goes_on():
            for garbage in GARBAGE:
                try:
                    s.sendto(garbage[: random.randrange(1, 60000)], os.environ["NOTIFY_SOCKET"])
                except OSError:
                    pass


def file():
    path = os.environ["HB_STATUS_FILE"]
    while goes_on():
        for garbage in GARBAGE:
            with open(path, random.choice(["wb", "ab"])) as f:
                f.write(garbage)
            if os.path.getsize(path) > 64 << 20:
                os.truncate(path, 0)
        os.replace(path, path + ".old")


def output():
    while goes_on():
        for garbage in GARBAGE:
            os.write(1, garbage)


def say(line):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.environ["HB_SOCKET"])
        s.sendall(line)
        s.shutdown(socket.SHUT_WR)
        return s.recv(100)


said = say(b"task=sane progress=42 queue=7 tokens=512\n")
assert said == b"", said
children = []
for mad in (stream, datagrams, file, output):
    child = os.fork()
    if child == 0:
        mad()
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
while say(b"task=sane progress=43\n"):  # beyond the limit, for a second more
    time.sleep(0.1)
time.sleep(1000)
