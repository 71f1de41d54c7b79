import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/** A pool of workers at rest; a job comes every twenty seconds, and one that takes ten. */
public class G39JavaQueue {
    static void pause(double seconds) throws InterruptedException {
        String scale = System.getenv("ZOO_SCALE");
        Thread.sleep((long) (1000 * seconds * (scale == null ? 1.0 : Double.parseDouble(scale))));
    }

    public static void main(String[] arguments) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        String mark = System.getenv("ZOO_MARK");
        if (mark != null) {
            Files.writeString(Path.of(mark + ".new"), "");
            Files.move(Path.of(mark + ".new"), Path.of(mark), StandardCopyOption.ATOMIC_MOVE);
        }
        for (int job = 0; ; job++) {
            pause(20);
            pool.submit(() -> {
                pause(10);
                return null;
            }).get(1, TimeUnit.DAYS);
        }
    }
}
