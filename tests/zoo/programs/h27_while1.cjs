// while (1)
require('./zoo.cjs').mark();
while (1) {}
