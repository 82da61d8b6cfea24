import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.math.BigInteger;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;

/** Two routes: a text, and a number with its square. */
public class Service {
    static void answer(HttpExchange exchange, String body) throws IOException {
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(200, bytes.length);
        exchange.getResponseBody().write(bytes);
        exchange.close();
    }

    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(8080), 0);
        server.createContext("/", exchange -> answer(exchange, "Hello from Java"));
        server.createContext("/api/", exchange -> {
            BigInteger number = new BigInteger(exchange.getRequestURI().getPath().substring(5));
            answer(exchange, String.format("{\"number\":%d,\"square\":%d}", number, number.multiply(number)));
        });
        // The first process of a container is not ended by a signal that it does not handle.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> server.stop(0)));
        server.start();
    }
}
