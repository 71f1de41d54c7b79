# Collects the output of a tool that says a word each half minute.
require_relative 'zoo'

mark
loop { `for n in 1 2 3 4; do echo step $n; sleep #{scaled(30)}; done` }
