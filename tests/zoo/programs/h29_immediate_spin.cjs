// setImmediate that asks for itself: the loop wakes itself for ever.
require('./zoo.cjs').mark();
const again = () => setImmediate(again);
again();
