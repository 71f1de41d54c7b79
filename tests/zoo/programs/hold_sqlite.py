"""hold_sqlite.py FILE: takes the database's lock and keeps it. The process h21 waits for."""
import sqlite3
import sys
import time

database = sqlite3.connect(sys.argv[1])
database.execute("CREATE TABLE IF NOT EXISTS t (x)")
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
while True:
    time.sleep(1000)
