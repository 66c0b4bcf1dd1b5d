//! HTTP requests as no client library sends them.

use std::{net::SocketAddr, time::Duration};

use http::Request;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

/// No answer to a request of these takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// The status that a request gets, given as the bytes that go over the wire.
pub async fn status(address: SocketAddr, request: &str) -> u16 {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        stream.write_all(request.as_bytes()).await.expect("send");
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.expect("read an answer");
        line
    };
    let line = timeout(PATIENCE, asked).await;
    let line = line.unwrap_or_else(|_| panic!("no answer to {request}"));
    let status = std::str::from_utf8(&line[9..]).ok();
    let status = status.and_then(|text| text.parse().ok());
    status.unwrap_or_else(|| panic!("{request} got {:?}", String::from_utf8_lossy(&line)))
}

/// The status of `GET /health` over HTTP/2, with an `:authority` and maybe a `host` that differs.
pub async fn status_over_h2(address: SocketAddr, authority: &str, host: Option<&str>) -> u16 {
    let asked = async {
        let stream = TcpStream::connect(address).await.expect("connect");
        let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        let mut client = client.ready().await.expect("a stream");
        let request = Request::get(format!("http://{authority}/health"));
        let request = host
            .into_iter()
            .fold(request, |request, host| request.header("host", host));
        let request = request.body(()).expect("a request");
        let (answer, _) = client.send_request(request, true).expect("send");
        answer.await.expect("an answer").status().as_u16()
    };
    timeout(PATIENCE, asked).await.expect("an answer in time")
}
