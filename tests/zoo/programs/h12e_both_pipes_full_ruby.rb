# Writes all of its input to a filter before reading: the filter's output is full, then its input.
require_relative 'zoo'

filter = IO.popen('cat', 'r+')
mark(child: filter.pid)
filter.write('x' * 1_000_000)
filter.close_write
puts filter.read.size
