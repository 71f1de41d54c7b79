"""Prints into a pipe that nobody reads."""
import zoo

zoo.mark()
while True:
    print("line of a long report " * 40, flush=True)
