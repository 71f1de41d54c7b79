# Waits for the end of a child before its output is read, and there is too much of it.
require_relative 'zoo'

reader, writer = IO.pipe
child = spawn('ruby', '-e', 'print "x" * 1_000_000', out: writer)
writer.close
mark(child: child)
Process.wait(child)
puts reader.read.size
