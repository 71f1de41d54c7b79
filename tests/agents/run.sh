#!/usr/bin/env bash
# run.sh AGENT MODE [ARG…]: the real program, with a home of its own, against the fake model at ZOO_PEER.
# MODE is what the model does, see model.py; `idle` asks it nothing. ZOO_AGENTS is where they are installed; ZOO_NET says
# that the row has a network namespace of its own.
set -euo pipefail
agent=$1 mode=$2
shift 2
export HOME=$ZOO_DIR/home
export XDG_CONFIG_HOME=$HOME/.config XDG_DATA_HOME=$HOME/.local/share XDG_STATE_HOME=$HOME/.local/state
export XDG_CACHE_HOME=$HOME/.cache
mkdir -p "$HOME/.claude" "$HOME/.codex" "$HOME/.gemini" "$HOME/.continue" "$HOME/.pi/agent" "$XDG_CONFIG_HOME/opencode"
if [ "$mode" = idle ]; then
  : > "$ZOO_MARK"
fi
# In a network namespace of its row no name server can answer: a name that is looked up must fail at once, not after 20 s.
if [ -n "${ZOO_NET:-}" ]; then
  while read -r server; do
    ip route replace unreachable "$server" 2>/dev/null || true
  done < <(awk '/^nameserver/ {print $2}' /etc/resolv.conf)
fi
npm=$ZOO_AGENTS/npm/node_modules
bin=$npm/.bin/$agent
export PATH=$npm/.bin:$PATH
model=http://$ZOO_PEER/$mode
case $agent in
claude)
  cat > "$HOME/.claude.json" <<JSON
{"hasCompletedOnboarding": true, "theme": "dark", "bypassPermissionsModeAccepted": true,
 "customApiKeyResponses": {"approved": ["no-key-at-all"], "rejected": []},
 "projects": {"$PWD": {"hasTrustDialogAccepted": true}}}
JSON
  export ANTHROPIC_BASE_URL=$model ANTHROPIC_API_KEY=no-key-at-all
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
base_url = "$model"
wire_api = "responses"
env_key = "FAKE_KEY"
TOML
  export FAKE_KEY=no-key-at-all
  ;;
gemini)
  cat > "$HOME/.gemini/settings.json" <<JSON
{"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": false},
 "general": {"enableAutoUpdate": false}}
JSON
  export GEMINI_API_KEY=no-key-at-all GOOGLE_GEMINI_BASE_URL=$model GEMINI_CLI_TRUST_WORKSPACE=true
  ;;
qwen)
  export OPENAI_API_KEY=no-key-at-all OPENAI_BASE_URL=$model/v1 OPENAI_MODEL=fake QWEN_USAGE_STATISTICS_ENABLED=false
  ;;
opencode)
  cat > "$XDG_CONFIG_HOME/opencode/opencode.json" <<JSON
{"autoupdate": false, "share": "disabled", "model": "fake/fake", "small_model": "fake/fake",
 "provider": {"fake": {"npm": "@ai-sdk/openai-compatible", "name": "fake",
   "options": {"baseURL": "$model/v1", "apiKey": "no-key-at-all"},
   "models": {"fake": {"name": "fake", "tool_call": true}}}}}
JSON
  export OPENCODE_DISABLE_MODELS_FETCH=1 OPENCODE_DISABLE_AUTOUPDATE=1
  ;;
pi)
  cat > "$HOME/.pi/agent/models.json" <<JSON
{"providers": {"fake": {"baseUrl": "$model/v1", "api": "openai-completions", "apiKey": "no-key-at-all",
  "models": [{"id": "fake", "name": "fake", "reasoning": false, "input": ["text"], "contextWindow": 128000,
    "maxTokens": 8000, "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}}]}}}
JSON
  export PI_OFFLINE=1
  ;;
copilot)
  export COPILOT_PROVIDER_BASE_URL=$model/v1 COPILOT_PROVIDER_API_KEY=no-key-at-all COPILOT_MODEL=fake
  export COPILOT_AUTO_UPDATE=false COPILOT_OFFLINE=true
  ;;
cline)
  "$bin" auth -p openai-compatible -k no-key-at-all -m fake -b "$model/v1" > "$HOME/auth.log" 2>&1
  ;;
cn)
  cat > "$HOME/.continue/config.yaml" <<YAML
name: fake
version: 0.0.1
schema: v1
models:
  - {name: fake, provider: openai, model: gpt-4o, apiBase: "$model/v1", apiKey: no-key-at-all, roles: [chat]}
YAML
  set -- --config "$HOME/.continue/config.yaml" "$@"
  ;;
aider)
  bin=$ZOO_AGENTS/aider/bin/aider
  export OPENAI_API_KEY=no-key-at-all OPENAI_API_BASE=${model}.plain/v1 LITELLM_LOCAL_MODEL_COST_MAP=True
  set -- --model openai/fake --no-check-update --no-show-model-warnings --analytics-disable --no-git --yes-always \
    --no-show-release-notes --no-suggest-shell-commands "$@"
  ;;
mini)
  bin=$ZOO_AGENTS/mini/bin/mini
  export OPENAI_API_KEY=no-key-at-all OPENAI_API_BASE=$model/v1
  export LITELLM_LOCAL_MODEL_COST_MAP=True MSWEA_CONFIGURED=true MSWEA_COST_TRACKING=ignore_errors MSWEA_MODEL_NAME=openai/fake
  ;;
*)
  echo "run.sh: no agent is called $agent" >&2
  exit 2
  ;;
esac
exec "$bin" "$@"
