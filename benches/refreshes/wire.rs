//! As much of HTTP/1.1 as a message of known length needs.

/// Where the head of a message ends, and where the message does; `None`: it has not all come.
pub fn whole(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let whole = head + content_length(&bytes[..head]);
    (bytes.len() >= whole).then_some((head, whole))
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length: ";
    let at = head
        .windows(NAME.len())
        .position(|window| window.eq_ignore_ascii_case(NAME));
    at.map_or(0, |at| {
        head[at + NAME.len()..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
    })
}
