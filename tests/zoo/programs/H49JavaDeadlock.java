import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.concurrent.CyclicBarrier;

/** Two threads, two monitors, taken in opposite order, with a task. Threads of the virtual machine sleep and wake beside them. */
public class H49JavaDeadlock {
    static final CyclicBarrier BOTH = new CyclicBarrier(2);

    static Thread taker(Object first, Object second) {
        return new Thread(() -> {
            synchronized (first) {
                try {
                    BOTH.await();
                } catch (Exception broken) {
                    throw new IllegalStateException(broken);
                }
                synchronized (second) {
                    System.out.println("never");
                }
            }
        });
    }

    public static void main(String[] arguments) throws Exception {
        String contract = System.getenv("HB_SOCKET");
        if (contract != null) {
            SocketChannel channel = SocketChannel.open(UnixDomainSocketAddress.of(contract));
            channel.write(ByteBuffer.wrap("task=\"merge the branches\" state=working\n".getBytes(StandardCharsets.UTF_8)));
        }
        Object one = new Object();
        Object two = new Object();
        Thread[] takers = {taker(one, two), taker(two, one)};
        for (Thread taker : takers) {
            taker.start();
        }
        String mark = System.getenv("ZOO_MARK");
        if (mark != null) {
            Files.writeString(Path.of(mark + ".new"), "");
            Files.move(Path.of(mark + ".new"), Path.of(mark), StandardCopyOption.ATOMIC_MOVE);
        }
        for (Thread taker : takers) {
            taker.join();
        }
    }
}
