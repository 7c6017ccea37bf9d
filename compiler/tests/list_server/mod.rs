//! A TLS server in this process, on a port of 127.0.0.1 that was free, with a certificate authority of its own.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the server does when a path is requested.
#[derive(Clone)]
pub(crate) enum Page {
    Bytes(Vec<u8>),
    Status(u16),
    Redirect(String),
    /// Less than it announces.
    Short(String),
    /// In pieces, each of which says how long it is.
    Chunked(String),
    /// Of unannounced length, and cut by whoever is on the way: TLS is not ended.
    Cut(String),
    /// A body without an end.
    Endless,
    /// A byte now and then.
    Trickle,
    /// No answer.
    Silent,
    /// An answer that is not HTTP.
    Nonsense,
}

impl Page {
    pub(crate) fn text(text: &str) -> Page {
        Page::Bytes(text.as_bytes().to_vec())
    }

    pub(crate) fn redirect(to: &str) -> Page {
        Page::Redirect(to.to_owned())
    }
}

type Pages = Arc<Mutex<BTreeMap<String, Page>>>;

pub(crate) struct Server {
    port: u16,
    authority: String,
    pages: Pages,
}

impl Server {
    /// Answers until the process ends.
    pub(crate) fn start() -> Server {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages.push(KeyUsagePurpose::KeyCertSign);
        let key = KeyPair::generate().unwrap();
        let pem = authority.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(authority, key);
        let own = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let pages = Pages::default();
        let (config, known) = (Arc::new(config), Arc::clone(&pages));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, known) = (Arc::clone(&config), Arc::clone(&known));
                std::thread::spawn(move || answer(stream, config, &known));
            }
        });
        Server { port, authority: pem, pages }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// The certificate of its authority, in PEM.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn set(&self, path: &str, page: Page) {
        self.pages.lock().unwrap().insert(path.to_owned(), page);
    }
}

/// Answers one request. The other side may hang up at any time.
fn answer(stream: TcpStream, config: Arc<ServerConfig>, pages: &Pages) -> Option<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).ok()?, stream);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        request.extend(byte);
    }
    let request = String::from_utf8(request).ok()?;
    let path = request.split(' ').nth(1)?;
    let page = pages.lock().unwrap().get(path).cloned().unwrap_or(Page::Status(404));
    let head = |status: &str, more: &str| format!("HTTP/1.1 {status}\r\nconnection: close\r\n{more}\r\n").into_bytes();
    let length = |bytes: usize| format!("content-length: {bytes}\r\n");
    match page {
        Page::Bytes(body) => {
            stream.write_all(&[head("200 OK", &length(body.len())), body].concat()).ok()?;
        }
        Page::Status(status) => stream.write_all(&head(&format!("{status} No"), &length(0))).ok()?,
        Page::Redirect(to) => {
            stream.write_all(&head("302 Found", &format!("location: {to}\r\n{}", length(0)))).ok()?;
        }
        Page::Short(body) => {
            stream.write_all(&[head("200 OK", &length(body.len() + 1)), body.into_bytes()].concat()).ok()?;
        }
        Page::Cut(body) => {
            stream.write_all(&[head("200 OK", ""), body.into_bytes()].concat()).ok()?;
            stream.flush().ok()?;
            return None;
        }
        Page::Chunked(body) => {
            let mut chunks = head("200 OK", "transfer-encoding: chunked\r\n");
            for part in body.as_bytes().chunks(50) {
                chunks.extend([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
            }
            chunks.extend(b"0\r\n\r\n");
            stream.write_all(&chunks).ok()?;
        }
        Page::Endless => {
            stream.write_all(&head("200 OK", "transfer-encoding: chunked\r\n")).ok()?;
            let some = b"192.0.2.0/24\n".repeat(10_000);
            let chunk = [format!("{:x}\r\n", some.len()).as_bytes(), &some, b"\r\n"].concat();
            while stream.write_all(&chunk).is_ok() {}
        }
        Page::Trickle => {
            stream.write_all(&head("200 OK", &length(100_000))).ok()?;
            while stream.write_all(b"#").and_then(|()| stream.flush()).is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Page::Silent => std::thread::sleep(Duration::from_secs(30)),
        Page::Nonsense => stream.write_all(b"+OK ready\r\n\r\n").ok()?,
    }
    stream.conn.send_close_notify();
    stream.flush().ok()
}
