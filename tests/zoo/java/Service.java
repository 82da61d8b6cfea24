import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.io.FileInputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.Charset;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.time.LocalDate;
import java.time.ZoneId;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.time.format.FormatStyle;
import java.util.HexFormat;
import java.util.Locale;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;

/** Each route needs something of the run-time environment that the others do not. */
public class Service {
    interface Route {
        String answer() throws Exception;
    }

    static void add(HttpServer server, String path, Route route) {
        server.createContext(path, (HttpExchange exchange) -> {
            int status = exchange.getRequestURI().getPath().equals(path) ? 200 : 404;
            String body;
            try {
                body = status == 200 ? route.answer() : "nothing is here";
            } catch (Exception error) {
                status = 500;
                body = error.toString();
                error.printStackTrace();
            }
            byte[] bytes = body.getBytes("UTF-8");
            exchange.sendResponseHeaders(status, bytes.length);
            exchange.getResponseBody().write(bytes);
            exchange.close();
        });
    }

    static void routes(HttpServer server) {
        add(server, "/", () -> "hello from java");
        add(server, "/digest", () -> HexFormat.of().formatHex(
            MessageDigest.getInstance("SHA3-256").digest("hello".getBytes())));
        add(server, "/zone", () -> ZonedDateTime.parse("2000-01-01T12:00:00Z")
            .withZoneSameInstant(ZoneId.of("Asia/Tokyo")).toString());
        add(server, "/locale", () -> LocalDate.of(2000, 1, 1)
            .format(DateTimeFormatter.ofLocalizedDate(FormatStyle.FULL).withLocale(Locale.GERMANY)));
        add(server, "/charset", () -> HexFormat.of().formatHex("\u3042".getBytes(Charset.forName("Shift_JIS"))));
        add(server, "/host", () -> InetAddress.getByName("localhost").getHostAddress());
        add(server, "/xml", () -> javax.xml.parsers.DocumentBuilderFactory.newInstance().newDocumentBuilder()
            .parse(new java.io.ByteArrayInputStream("<a><b/></a>".getBytes())).getDocumentElement().getTagName());
        add(server, "/broken", () -> { throw new IllegalStateException("broken on purpose"); });
    }

    public static void main(String[] arguments) throws Exception {
        HttpServer plain = HttpServer.create(new InetSocketAddress(8080), 0);
        routes(plain);
        plain.start();
        HttpsServer secure = HttpsServer.create(new InetSocketAddress(8443), 0);
        new Thread(() -> {
            try {
                // Only the first connection needs this much of the library.
                secure.setHttpsConfigurator(new HttpsConfigurator(context()));
            } catch (Exception error) {
                error.printStackTrace();
            }
            routes(secure);
            secure.start();
        }).start();
        System.out.println("listening");
    }

    static SSLContext context() throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (FileInputStream file = new FileInputStream("/srv/site.p12")) {
            store.load(file, "secret".toCharArray());
        }
        KeyManagerFactory keys = KeyManagerFactory.getInstance("SunX509");
        keys.init(store, "secret".toCharArray());
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, null);
        return context;
    }
}
