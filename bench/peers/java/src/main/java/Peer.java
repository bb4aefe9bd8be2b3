import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.DoubleStream;
import net.javacrumbs.shedlock.core.LockConfiguration;
import net.javacrumbs.shedlock.core.LockProvider;
import net.javacrumbs.shedlock.core.SimpleLock;
import net.javacrumbs.shedlock.provider.jdbctemplate.JdbcTemplateLockProvider;
import net.javacrumbs.shedlock.provider.redis.spring.RedisLockProvider;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.curator.test.TestingServer;
import org.redisson.Redisson;
import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;
import org.redisson.config.Config;
import org.springframework.data.redis.connection.lettuce.LettuceConnectionFactory;
import org.springframework.jdbc.core.JdbcTemplate;

/**
 * The locks of Java's libraries, for run.py, which says what the orders and answers are. A thread for each caller.
 * A new peer is one more method, and one more line in PEERS. Usage: Peer NAME URL; `Peer zookeeper` is a server of its own.
 */
public final class Peer {
    private static final Duration TTL = Duration.ofSeconds(30); // as every peer's

    /** Waits until it has the key; what it returns gives it up. */
    private interface Locks {
        Action acquire(String key) throws Exception;
    }

    private interface Action {
        void run() throws Exception;
    }

    private interface Opening {
        Locks open(URI url) throws Exception;
    }

    private record Kind(Opening opening, Class<?>... versions) {}

    private static final Map<String, Kind> PEERS = Map.of(
            "redisson", new Kind(Peer::redisson, Redisson.class),
            "shedlock-redis", new Kind(Peer::shedlockOnRedis, RedisLockProvider.class, LettuceConnectionFactory.class),
            "shedlock-jdbc", new Kind(Peer::shedlockOnJdbc, JdbcTemplateLockProvider.class, HikariDataSource.class),
            "curator", new Kind(Peer::curator, InterProcessMutex.class));

    private static Locks redisson(URI url) {
        Config config = new Config();
        config.useSingleServer().setAddress(url.toString());
        RedissonClient client = Redisson.create(config);
        return key -> {
            RLock lock = client.getLock(key);
            lock.lock(TTL.toSeconds(), TimeUnit.SECONDS);
            return lock::unlock;
        };
    }

    private static Locks shedlockOnRedis(URI url) {
        LettuceConnectionFactory factory = new LettuceConnectionFactory(url.getHost(), url.getPort());
        factory.afterPropertiesSet();
        factory.start();
        return shedlock(new RedisLockProvider(factory));
    }

    private static Locks shedlockOnJdbc(URI url) {
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl("jdbc:postgresql://%s:%d%s".formatted(url.getHost(), url.getPort(), url.getPath()));
        config.setUsername(url.getUserInfo());
        JdbcTemplate template = new JdbcTemplate(new HikariDataSource(config));
        template.execute("CREATE TABLE IF NOT EXISTS shedlock (name VARCHAR(64) PRIMARY KEY, lock_until TIMESTAMP NOT NULL, "
                + "locked_at TIMESTAMP NOT NULL, locked_by VARCHAR(255) NOT NULL)");
        return shedlock(new JdbcTemplateLockProvider(
                JdbcTemplateLockProvider.Configuration.builder().withJdbcTemplate(template).usingDbTime().build()));
    }

    private static Locks shedlock(LockProvider provider) {
        return key -> {
            SimpleLock lock = provider.lock(new LockConfiguration(Instant.now(), key, TTL, Duration.ZERO))
                    .orElseThrow(() -> new IllegalStateException(key + " is not free, and ShedLock cannot wait"));
            return lock::unlock;
        };
    }

    private static Locks curator(URI url) {
        CuratorFramework client =
                CuratorFrameworkFactory.newClient(url.getAuthority(), new ExponentialBackoffRetry(1000, 3));
        client.start();
        return key -> {
            InterProcessMutex mutex = new InterProcessMutex(client, "/locks/" + key);
            mutex.acquire();
            return mutex::release;
        };
    }

    /** The versions, as the names of the files tell them. */
    private static String versions(Class<?>... classes) {
        StringBuilder found = new StringBuilder();
        for (Class<?> one : classes) {
            Path file = Path.of(one.getProtectionDomain().getCodeSource().getLocation().getPath()).getFileName();
            Matcher parts = Pattern.compile("(.*?)-(\\d.*)\\.jar").matcher(file.toString());
            found.append(found.isEmpty() ? "" : ", ").append(parts.matches() ? parts.group(1) + " " + parts.group(2) : file);
        }
        return found.toString();
    }

    private static void answer(String format, Object... values) {
        System.out.println(String.format(Locale.ROOT, format, values));
    }

    /** Microseconds of a clock that both processes of a hand-over share. */
    private static double now() {
        return System.nanoTime() / 1e3;
    }

    private static void pairs(Locks locks, double seconds) throws Exception {
        DoubleStream.Builder all = DoubleStream.builder();
        double begin = now();
        for (double end = begin + seconds * 1e6; begin < end; ) {
            locks.acquire("pairs").run();
            double done = now();
            all.add(done - begin);
            begin = done;
        }
        double[] took = all.build().sorted().toArray();
        answer("{\"median_us\": %.1f, \"p99_us\": %.1f}", took[took.length / 2], took[(int) (took.length * 0.99)]);
    }

    private static void callers(Locks locks, int count, double seconds) throws Exception {
        AtomicLong pairs = new AtomicLong();
        double begin = now();
        double end = begin + seconds * 1e6;
        Thread[] threads = new Thread[count];
        for (int i = 0; i < count; i++) {
            String key = "callers-" + i;
            threads[i] = start(() -> {
                while (now() < end) {
                    locks.acquire(key).run();
                    pairs.incrementAndGet();
                }
            });
        }
        for (Thread thread : threads) {
            thread.join();
        }
        answer("{\"per_second\": %.1f}", pairs.get() / (now() - begin) * 1e6);
    }

    private static Thread start(Action action) {
        Thread thread = new Thread(() -> {
            try {
                action.run();
            } catch (Exception error) {
                error.printStackTrace();
                Runtime.getRuntime().halt(1);
            }
        });
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    private static void obey(Locks locks, BufferedReader orders) throws Exception {
        Action release = null;
        for (String line = orders.readLine(); line != null; line = orders.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "pairs" -> pairs(locks, Double.parseDouble(words[1]));
                case "callers" -> callers(locks, Integer.parseInt(words[1]), Double.parseDouble(words[2]));
                case "acquire" -> {
                    release = locks.acquire(words[1]);
                    answer("{\"at_us\": %.1f}", now());
                }
                case "release" -> {
                    answer("{\"at_us\": %.1f}", now());
                    release.run();
                }
                case "waiters" -> {
                    for (int i = Integer.parseInt(words[1]); i > 0; i--) {
                        start(() -> locks.acquire(words[2]));
                    }
                    answer("{}");
                }
                default -> throw new IllegalArgumentException("not an order: " + line);
            }
        }
    }

    /** A ZooKeeper that writes to disk as it does by default, in a folder of its own below java.io.tmpdir. */
    private static void zookeeper(BufferedReader orders) throws Exception {
        System.setProperty("zookeeper.4lw.commands.whitelist", "mntr");
        try (TestingServer server = new TestingServer()) {
            answer("zookeeper://%s", server.getConnectString());
            while (orders.readLine() != null) {
                // until the end of the input
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader orders = new BufferedReader(new InputStreamReader(System.in));
        if (arguments.length == 1 && arguments[0].equals("zookeeper")) {
            zookeeper(orders);
        } else {
            Kind kind = PEERS.get(arguments[0]);
            if (kind == null) {
                throw new IllegalArgumentException("not a peer: " + arguments[0]);
            }
            Locks locks = kind.opening().open(URI.create(arguments[1]));
            answer("{\"version\": \"%s\", \"runtime\": \"Java %s\"}", versions(kind.versions()), Runtime.version());
            obey(locks, orders);
        }
        Runtime.getRuntime().halt(0); // threads may wait for keys still
    }
}
