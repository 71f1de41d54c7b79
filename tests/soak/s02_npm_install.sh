#!/usr/bin/env bash
# Installs a local package into an empty project, again and again.
. "$(dirname "$0")/../zoo/programs/zoo.sh"
cd "$ZOO_DIR" || exit 1
mkdir -p local project
echo '{"name":"local","version":"1.0.0","main":"index.js","scripts":{"install":"node -e \"setTimeout(() => {}, 500)\""}}' > local/package.json
echo 'module.exports = 1;' > local/index.js
echo '{"name":"project","version":"1.0.0","dependencies":{"local":"file:../local"}}' > project/package.json
cd project || exit 1
mark
while :; do
  rm -rf node_modules package-lock.json
  npm install --offline --no-audit --no-fund --silent --cache "$ZOO_DIR/cache" || exit 1
  sleep 1
done
