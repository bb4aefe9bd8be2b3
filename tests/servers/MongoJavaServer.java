// MongoJavaServer.java - starts mongo-java-server in memory: `java MongoJavaServer HOST PORT`.
//
// Compiled by scripts/fetch-servers, run by tests/servers/mongodb. One thread serves all connections, so that a reply,
// which is made of the server's own objects, shows no later change: a server that copies them needs no such care.
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import java.net.InetSocketAddress;

public final class MongoJavaServer {
    private MongoJavaServer() {
    }

    public static void main(String[] arguments) {
        MongoServer server = new MongoServer(new MemoryBackend());
        server.bind(new InetSocketAddress(arguments[0], Integer.parseInt(arguments[1])), 1, 1);
    }
}
