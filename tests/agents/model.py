"""model.py HOST: a model for real agents, in the four dialects they speak. Prints its port; the first word of a path is
what it does, and ZOO_MARK is written when the state that a row is about begins. All times are scaled.

/answer  a few words                         /hang   takes the request and never answers
/stall   half an answer, then silence        /ping   half an answer, then a sign of life each 15 s
/think   silence for 540 s, then an answer   /first  headers at once, the first word after 400 s
/drip    a word each 25 s, 12 of them        /close  twice silence for 350 s and a closed connection, then an answer
/sleep   the tool `sleep 3000`               /write  a tool that writes a file, then an answer
/tool    a tool that hangs, then an answer   /again  the same tool call for ever

Behind the word may stand `.plain`: the agent gives its model no tools, so a request without them is no errand.
"""
import itertools
import json
import os
import re
import socket
import struct
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SCALE = float(os.environ.get("ZOO_SCALE", "1"))
FOR_EVER = 10**6
TOOLS = {"sleep": f"sleep {3000 * SCALE}", "write": "touch asked", "again": "cat /etc/hostname",
         "tool": "mkfifo nobody-writes; cat nobody-writes"}
# What a shell tool is called, best first.
SHELLS = ("run_shell_command", "exec_command", "shell_command", "Bash", "bash", "shell", "run_commands",
          "run_terminal_command", "execute_command", "terminal")
# mini ends its work by a command.
SUBMITS = b"COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
WORDS = ("lorem ", "ipsum ", "dolor ")
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
numbers = itertools.count(1)
closed = itertools.count(1)
called = itertools.count(1)


def mark():
    path = os.environ["ZOO_MARK"]
    if not os.path.exists(path):
        with open(path, "w"):
            pass


def arguments(schema, command):
    """Arguments for a shell tool, as its own schema wants them."""
    known = (schema or {}).get("properties") or {"command": {}}
    given = {}
    for name, kind in known.items():
        sort = str(kind.get("type", "string")).lower()
        if name in ("command", "cmd", "commands"):
            words = [command] if name == "commands" else ["bash", "-c", command]
            given[name] = words if sort == "array" else command
        elif name in ("timeout", "timeout_ms"):
            given[name] = 600000
        elif name in (schema or {}).get("required", []):
            given[name] = {"boolean": False, "number": 1, "integer": 1, "array": [], "object": {}}.get(sort, "run it")
    return given


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.plain({})

    def do_GET(self):
        models = [{"id": name, "object": "model"} for name in ("fake", "gpt-5")]
        self.plain({"data": models if "models" in self.path else []})

    def do_POST(self):
        try:
            self.post()
        except OSError:
            self.close_connection = True  # the agent has ended, or gave up

    def post(self):
        raw = self.body()
        asked = json.loads(raw or b"{}")
        path = self.path.split("?")[0]
        mode, _, plain = path.split("/")[1].partition(".")
        for pattern, dialect in ((r"/messages$", Messages), (r"/responses$", Responses),
                                 (r"/chat/completions$", Chat), (r"[gG]enerateContent$", Gemini)):
            if re.search(pattern, path):
                break
        else:
            return self.plain({})
        dialect = dialect(self, asked)
        # What it asks without tools is about the conversation, such as a title.
        if not dialect.tools and not plain or "responseMimeType" in (asked.get("generationConfig") or {}):
            mode = "answer"
        elif mode == "answer":
            mark()
        if mode == "close":
            mode = self.close_first()
        # The agent has ended its tool by itself.
        if mode in ("tool", "write") and next(called) > 1:
            mode = "answer"
        if mode == "hang" or mode == "stall" and not dialect.streams:
            mark()
            time.sleep(FOR_EVER)
        command = TOOLS.get(mode)
        if command is None and SUBMITS in raw and dialect.shell():
            command = f"echo {SUBMITS.decode()}"
        if dialect.streams:
            self.stream(dialect, mode, command)
        else:
            self.whole(dialect, mode, command)

    def body(self):
        length = self.headers.get("Content-Length")
        if length is not None:
            return self.rfile.read(int(length))
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def plain(self, answer):
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def close_first(self):
        mark()
        if next(closed) > 2:
            return "answer"
        time.sleep(350 * SCALE)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise OSError("closed on purpose")

    def wait(self, mode):
        seconds = {"think": 540, "first": 400}.get(mode)
        if seconds:
            mark()
            time.sleep(seconds * SCALE)

    def whole(self, dialect, mode, command):
        self.wait(mode)
        if mode == "drip":
            mark()
            time.sleep(12 * 25 * SCALE)
        if mode in TOOLS:
            mark()
        self.plain(dialect.whole("".join(WORDS), command))

    def stream(self, dialect, mode, command):
        if mode == "think":
            self.wait(mode)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        dialect.begin()
        if mode == "first":
            self.wait(mode)
        if command is not None:
            if mode in TOOLS:
                mark()
            dialect.call(command)
        else:
            self.words(dialect, mode)
            dialect.end()
        self.wfile.write(b"0\r\n\r\n")

    def words(self, dialect, mode):
        dialect.open()
        for word in WORDS * (4 if mode == "drip" else 1):
            dialect.word(word)
            if mode == "drip":
                mark()
                time.sleep(25 * SCALE)
        if mode in ("stall", "ping"):
            mark()
        while mode in ("stall", "ping"):
            time.sleep(15)
            if mode == "ping":
                dialect.ping()

    def event(self, data, kind=None):
        name = f"event: {kind}\n" if kind else ""
        text = f"{name}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
        self.wfile.flush()


class Dialect:
    """What an agent asked, and how it is answered."""

    def __init__(self, to, asked):
        self.to, self.asked, self.number = to, asked, next(numbers)
        self.streams = bool(asked.get("stream"))
        self.tools = dict(self.offered())

    def shell(self):
        for name in SHELLS:
            if name in self.tools:
                return name
        return next(iter(self.tools), None)

    def use(self, command):
        name = self.shell()
        return name, arguments(self.tools.get(name), command)

    def open(self):
        pass


class Messages(Dialect):
    """As `claude` speaks."""

    def offered(self):
        return [(tool["name"], tool.get("input_schema")) for tool in self.asked.get("tools") or [] if "name" in tool]

    def message(self, content, why):
        usage = {"input_tokens": 10, "output_tokens": 1}
        return {"id": f"msg_{self.number}", "type": "message", "role": "assistant", "model": "fake",
                "content": content, "stop_reason": why, "stop_sequence": None, "usage": usage}

    def event(self, kind, **data):
        self.to.event({"type": kind, **data}, kind)

    def begin(self):
        self.event("message_start", message=self.message([], None))

    def open(self):
        self.event("content_block_start", index=0, content_block={"type": "text", "text": ""})

    def word(self, word):
        self.event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})

    def ping(self):
        self.event("ping")

    def tool(self, command):
        name, given = self.use(command)
        return {"type": "tool_use", "id": f"toolu_{self.number}", "name": name, "input": given}

    def call(self, command):
        tool = self.tool(command)
        self.event("content_block_start", index=0, content_block={**tool, "input": {}})
        given = {"type": "input_json_delta", "partial_json": json.dumps(tool["input"])}
        self.event("content_block_delta", index=0, delta=given)
        self.stop("tool_use")

    def end(self):
        self.stop("end_turn")

    def stop(self, why):
        self.event("content_block_stop", index=0)
        self.event("message_delta", delta={"stop_reason": why, "stop_sequence": None}, usage={"output_tokens": 20})
        self.event("message_stop")

    def whole(self, text, command):
        if command is None:
            return self.message([{"type": "text", "text": text}], "end_turn")
        return self.message([self.tool(command)], "tool_use")


class Responses(Dialect):
    """As `codex` speaks."""

    def offered(self):
        return [(tool["name"], tool.get("parameters")) for tool in self.asked.get("tools") or []
                if tool.get("type") == "function"]

    def response(self, status, output):
        usage = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5,
                 "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 15}
        return {"id": f"resp_{self.number}", "object": "response", "created_at": 1, "model": "fake", "status": status,
                "output": output, "usage": usage}

    def event(self, kind, **data):
        self.to.event({"type": kind, **data}, kind)

    def begin(self):
        self.event("response.created", response=self.response("in_progress", []))

    def open(self):
        item = {"type": "message", "id": "m", "role": "assistant", "status": "in_progress", "content": []}
        self.event("response.output_item.added", output_index=0, item=item)
        part = {"type": "output_text", "text": "", "annotations": []}
        self.event("response.content_part.added", item_id="m", output_index=0, content_index=0, part=part)

    def word(self, word):
        self.event("response.output_text.delta", item_id="m", output_index=0, content_index=0, delta=word)

    def ping(self):
        self.event("response.in_progress", response={"id": f"resp_{self.number}"})

    def tool(self, command):
        name, given = self.use(command)
        return {"type": "function_call", "id": f"fc_{self.number}", "call_id": f"call_{self.number}", "name": name,
                "arguments": json.dumps(given), "status": "completed"}

    def text(self, text):
        parts = [{"type": "output_text", "text": text, "annotations": []}]
        return {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": parts}

    def call(self, command):
        tool = self.tool(command)
        self.event("response.output_item.added", output_index=0, item={**tool, "arguments": "", "status": "in_progress"})
        for kind in ("delta", "done"):
            key = "delta" if kind == "delta" else "arguments"
            self.event(f"response.function_call_arguments.{kind}", item_id=tool["id"], output_index=0,
                       **{key: tool["arguments"]})
        self.done(tool)

    def end(self):
        self.done(self.text("".join(WORDS)))

    def done(self, item):
        self.event("response.output_item.done", output_index=0, item=item)
        self.event("response.completed", response=self.response("completed", [item]))

    def whole(self, text, command):
        return self.response("completed", [self.text(text) if command is None else self.tool(command)])


class Chat(Dialect):
    """As `qwen`, `opencode`, `pi`, `copilot`, `cline`, `cn`, `aider` and `mini` speak."""

    def offered(self):
        tools = [tool["function"] for tool in self.asked.get("tools") or [] if "function" in tool]
        return [(tool["name"], tool.get("parameters")) for tool in tools]

    def chunk(self, delta, why=None, **more):
        choices = [{"index": 0, "delta": delta, "finish_reason": why}]
        self.to.event({"id": f"chatcmpl-{self.number}", "object": "chat.completion.chunk", "created": 1, "model": "fake",
                       "choices": choices, **more})

    def begin(self):
        self.chunk({"role": "assistant", "content": ""})

    def word(self, word):
        self.chunk({"content": word})

    def ping(self):
        self.to.wfile.write(b"e\r\n: keep-alive\n\n\r\n")
        self.to.wfile.flush()

    def tool(self, command):
        name, given = self.use(command)
        return {"index": 0, "id": f"call_{self.number}", "type": "function",
                "function": {"name": name, "arguments": json.dumps(given)}}

    def call(self, command):
        self.chunk({"tool_calls": [self.tool(command)]})
        self.stop("tool_calls")

    def end(self):
        self.stop("stop")

    def stop(self, why):
        self.chunk({}, why)
        self.chunk({}, None, usage=USAGE)
        self.to.event("[DONE]")

    def whole(self, text, command):
        message = {"role": "assistant", "content": text}
        if command is not None:
            message = {"role": "assistant", "content": None, "tool_calls": [self.tool(command)]}
        why = "stop" if command is None else "tool_calls"
        return {"id": f"chatcmpl-{self.number}", "object": "chat.completion", "created": 1, "model": "fake",
                "choices": [{"index": 0, "message": message, "finish_reason": why}], "usage": USAGE}


class Gemini(Dialect):
    """As `gemini` speaks."""

    def __init__(self, to, asked):
        super().__init__(to, asked)
        self.streams = "stream" in to.path

    def offered(self):
        kinds = [kind for tool in self.asked.get("tools") or [] for kind in tool.get("functionDeclarations") or []]
        return [(kind["name"], kind.get("parametersJsonSchema") or kind.get("parameters")) for kind in kinds]

    def answer(self, parts, why=None):
        candidate = {"index": 0, "content": {"role": "model", "parts": parts}}
        if why:
            candidate["finishReason"] = why
        usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "fake", "responseId": f"r{self.number}"}

    def begin(self):
        pass

    def word(self, word):
        self.to.event(self.answer([{"text": word}]))

    def ping(self):
        self.to.wfile.write(b"e\r\n: keep-alive\n\n\r\n")
        self.to.wfile.flush()

    def tool(self, command):
        name, given = self.use(command)
        return {"functionCall": {"id": f"call{self.number}", "name": name, "args": given}}

    def call(self, command):
        self.to.event(self.answer([self.tool(command)], "STOP"))

    def end(self):
        self.to.event(self.answer([{"text": "."}], "STOP"))

    def whole(self, text, command):
        text = '{"model_choice": "flash", "reasoning": "x"}' if "responseMimeType" in str(self.asked) else text
        return self.answer([{"text": text} if command is None else self.tool(command)], "STOP")


server = ThreadingHTTPServer((sys.argv[1], 0), Model)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
