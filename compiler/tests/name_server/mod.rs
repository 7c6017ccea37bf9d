//! A name server in this process, on a port of loopback that was free, over UDP and TCP.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use hickory_server::Server;
use hickory_server::server::RequestHandler;

/// Answers as `handler` does until the process ends.
pub(crate) fn serve(handler: impl RequestHandler) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut server = Server::new(handler);
            let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = udp.local_addr().unwrap();
            let tcp = tokio::net::TcpListener::bind(address).await.unwrap();
            server.register_socket(udp);
            server.register_listener(tcp, Duration::from_secs(5), 4096);
            tell.send(address).unwrap();
            server.block_until_done().await.unwrap();
        });
    });
    told.recv().unwrap()
}
