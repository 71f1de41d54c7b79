#!/usr/bin/env bash
# A tool call that started a server in the foreground: it will never end.
. "$(dirname "$0")/zoo.sh"
mark
answer=$(node -e 'require("node:http").createServer((q, a) => a.end("ok")).listen(0, "127.0.0.1", () => console.log("listening"))')
echo "$answer"
