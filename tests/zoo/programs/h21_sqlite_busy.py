"""A database that another process has locked; SQLite tries again ten times a second, for an hour."""
import os
import sqlite3

import zoo

database = sqlite3.connect(os.path.join(os.environ["ZOO_DIR"], "data.db"), timeout=3600)
zoo.mark()
database.execute("BEGIN EXCLUSIVE")
