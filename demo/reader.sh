# A demo agent: waits for something to read; nearly idle.
while :; do sleep 1; done
