#!/usr/bin/env bash
# run.sh claude|codex MODE [ARG…]: the real program, with a home of its own, against the fake model at ZOO_PEER.
# MODE is what the model does, see model.py; `idle` asks it nothing.
set -euo pipefail
agent=$1 mode=$2
shift 2
export HOME=$ZOO_DIR/home
mkdir -p "$HOME/.claude" "$HOME/.codex"
if [ "$mode" = idle ]; then
  : > "$ZOO_MARK"
fi
bin=$(dirname "$0")/node_modules/.bin
case $agent in
claude)
  cat > "$HOME/.claude.json" <<JSON
{"hasCompletedOnboarding": true, "theme": "dark", "bypassPermissionsModeAccepted": true,
 "customApiKeyResponses": {"approved": ["no-key-at-all"], "rejected": []},
 "projects": {"$PWD": {"hasTrustDialogAccepted": true}}}
JSON
  export ANTHROPIC_BASE_URL=http://$ZOO_PEER/$mode ANTHROPIC_API_KEY=no-key-at-all
  export DISABLE_AUTOUPDATER=1 CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 IS_SANDBOX=1
  ;;
codex)
  cat > "$HOME/.codex/config.toml" <<TOML
model = "gpt-5"
model_provider = "fake"
check_for_update_on_startup = false
[projects."$PWD"]
trust_level = "trusted"
[model_providers.fake]
name = "fake"
base_url = "http://$ZOO_PEER/$mode"
wire_api = "responses"
env_key = "FAKE_KEY"
TOML
  export FAKE_KEY=no-key-at-all
  ;;
esac
exec "$bin/$agent" "$@"
