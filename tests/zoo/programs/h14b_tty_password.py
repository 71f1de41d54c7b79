"""Asks the terminal for a password."""
import getpass

import zoo

zoo.mark()
print(len(getpass.getpass("Password: ")))
