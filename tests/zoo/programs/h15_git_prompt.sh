#!/usr/bin/env bash
# git asks for a user name on the terminal: the repository is private.
. "$(dirname "$0")/zoo.sh"
mark
git -c credential.helper= clone "http://$ZOO_PEER/private/repo.git" "$ZOO_DIR/clone"
echo "git ended: $?"
