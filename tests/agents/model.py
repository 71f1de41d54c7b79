"""model.py HOST: a model for real agents, in the two dialects they speak. Prints its port; the first word of a path is
what it does, and ZOO_MARK is written when the state that a row is about begins.

/answer  a few words                         /hang   takes the request and never answers
/stall   half an answer, then silence        /ping   half an answer, then a sign of life each 15 s
/think   silence for 540 scaled seconds, then an answer
/sleep   the tool `sleep 3000` (scaled)      /write  a tool that writes a file
/again   the same tool call for ever
"""
import itertools
import json
import os
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SCALE = float(os.environ.get("ZOO_SCALE", "1"))
FOR_EVER = 10**6
TOOLS = {"sleep": f"sleep {3000 * SCALE}", "write": "touch asked", "again": "cat /etc/hostname"}
numbers = itertools.count(1)


def mark():
    path = os.environ["ZOO_MARK"]
    if not os.path.exists(path):
        with open(path, "w"):
            pass


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.plain(b"")

    def do_GET(self):
        self.plain(b'{"data": []}')

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        mode = self.path.split("/")[1]
        if re.search(r"/messages(\?|$)", self.path) and asked.get("stream"):
            # What it asks without tools is about the conversation, such as a title.
            self.act(Messages(self), mode if asked.get("tools") else "answer")
        elif re.search(r"/responses(\?|$)", self.path):
            self.act(Responses(self, asked), mode)
        else:
            self.plain(b"{}")

    def plain(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def act(self, dialect, mode):
        if mode == "hang":
            mark()
            time.sleep(FOR_EVER)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        dialect.begin()
        if mode == "think":
            mark()
            time.sleep(540 * SCALE)
        if mode in TOOLS:
            mark()
            dialect.call(TOOLS[mode])
        else:
            dialect.words()
            if mode in ("stall", "ping"):
                mark()
            while mode in ("stall", "ping"):
                time.sleep(15)
                if mode == "ping":
                    dialect.ping()
            dialect.end()
        self.wfile.write(b"0\r\n\r\n")

    def event(self, kind, **data):
        text = f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
        self.wfile.flush()


class Messages:
    """As `claude` hears it."""

    def __init__(self, to):
        self.to = to
        self.number = next(numbers)

    def begin(self):
        usage = {"input_tokens": 10, "output_tokens": 1}
        message = {"id": f"msg_{self.number}", "type": "message", "role": "assistant", "model": "fake",
                   "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        self.to.event("message_start", message=message)

    def words(self):
        self.to.event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for word in ("lorem ", "ipsum ", "dolor "):
            self.to.event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})

    def ping(self):
        self.to.event("ping")

    def call(self, command):
        tool = {"type": "tool_use", "id": f"toolu_{self.number}", "name": "Bash", "input": {}}
        given = json.dumps({"command": command, "timeout": 600000})
        self.to.event("content_block_start", index=0, content_block=tool)
        self.to.event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": given})
        self.stop("tool_use")

    def end(self):
        self.stop("end_turn")

    def stop(self, why):
        self.to.event("content_block_stop", index=0)
        self.to.event("message_delta", delta={"stop_reason": why, "stop_sequence": None}, usage={"output_tokens": 20})
        self.to.event("message_stop")


class Responses:
    """As `codex` hears it."""

    def __init__(self, to, asked):
        self.to = to
        self.id = f"resp_{next(numbers)}"
        self.tools = [tool.get("name") for tool in asked.get("tools", [])]

    def begin(self):
        self.to.event("response.created", response={"id": self.id})

    def words(self):
        item = {"type": "message", "id": "m", "role": "assistant", "content": []}
        self.to.event("response.output_item.added", output_index=0, item=item)
        for word in ("lorem ", "ipsum ", "dolor "):
            self.to.event("response.output_text.delta", item_id="m", output_index=0, content_index=0, delta=word)

    def ping(self):
        self.to.event("response.in_progress", response={"id": self.id})

    def call(self, command):
        if "exec_command" in self.tools:
            name, given = "exec_command", {"cmd": command, "yield_time_ms": 30000}
        elif "shell_command" in self.tools:
            name, given = "shell_command", {"command": command, "timeout_ms": 600000}
        else:
            name, given = "shell", {"command": ["bash", "-c", command], "timeout_ms": 600000}
        item = {"type": "function_call", "id": f"fc_{self.id}", "call_id": f"call_{self.id}", "name": name,
                "arguments": json.dumps(given)}
        self.done(item)

    def end(self):
        text = {"type": "output_text", "text": "lorem ipsum dolor"}
        self.done({"type": "message", "id": "m", "role": "assistant", "content": [text]})

    def done(self, item):
        usage = {"input_tokens": 10, "input_tokens_details": None, "output_tokens": 5, "output_tokens_details": None,
                 "total_tokens": 15}
        self.to.event("response.output_item.done", output_index=0, item=item)
        self.to.event("response.completed", response={"id": self.id, "usage": usage})


server = ThreadingHTTPServer((sys.argv[1], 0), Model)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
