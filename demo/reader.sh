# A demo agent: nearly idle.
while :; do sleep 1; done
