import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

public class Hello {
    public static void main(String[] arguments) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(2);
        int n = threads.submit(() -> 42).get();
        threads.shutdown();
        Process echo = new ProcessBuilder("echo", "hi").start();
        String said = new String(echo.getInputStream().readAllBytes()).trim();
        ServerSocket server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
        Socket client = new Socket(server.getInetAddress(), server.getLocalPort());
        server.accept().getOutputStream().write(7);
        System.out.println("hello from Java " + n + " " + said + " " + client.getInputStream().read());
    }
}
