//! Options of the handshake, parsed into values that cannot be wrong. No I/O here: a payload is complete and
//! bounded before it is looked at.

use crate::limits::MAX_NAME_BYTES;
use crate::wire::{ALLOCATION_CONTEXT, option};

/// What a client asks for before the transmission phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientOption {
    /// Start with this export; there is no way to refuse but to hang up.
    ExportName(String),
    Abort,
    List,
    /// Tell about an export.
    Info(InfoRequest),
    /// Tell about an export and start with it.
    Go(InfoRequest),
    StructuredReply,
    ListMetaContext(MetaRequest),
    SetMetaContext(MetaRequest),
    /// Anything else, TLS included.
    Unsupported,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InfoRequest {
    pub(crate) name: String,
    /// Kinds of information asked for; unknown ones are to be ignored.
    pub(crate) kinds: Vec<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetaRequest {
    pub(crate) name: String,
    /// Whether `base:allocation` is among what was asked for.
    pub(crate) allocation: bool,
}

/// Why an option cannot be understood. The stream is still in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OptionError {
    Invalid(&'static str),
    TooBig(&'static str),
}

type Result<T> = std::result::Result<T, OptionError>;

/// Understands the payload of option number `code`.
pub(crate) fn parse(code: u32, payload: &[u8]) -> Result<ClientOption> {
    let mut fields = Fields(payload);
    let parsed = match code {
        option::EXPORT_NAME => ClientOption::ExportName(fields.text(payload.len())?),
        option::ABORT => return Ok(ClientOption::Abort),
        option::LIST => ClientOption::List,
        option::INFO => ClientOption::Info(info_request(&mut fields)?),
        option::GO => ClientOption::Go(info_request(&mut fields)?),
        option::STRUCTURED_REPLY => ClientOption::StructuredReply,
        option::LIST_META_CONTEXT => ClientOption::ListMetaContext(meta_request(&mut fields, code)?),
        option::SET_META_CONTEXT => ClientOption::SetMetaContext(meta_request(&mut fields, code)?),
        _ => return Ok(ClientOption::Unsupported),
    };
    if fields.0.is_empty() {
        Ok(parsed)
    } else {
        Err(OptionError::Invalid("the option is longer than its fields"))
    }
}

fn info_request(fields: &mut Fields<'_>) -> Result<InfoRequest> {
    let name = fields.string()?;
    let count = fields.u16()?;
    let kinds = (0..count).map(|_| fields.u16()).collect::<Result<_>>()?;
    Ok(InfoRequest { name, kinds })
}

/// Listing takes no query for all there is, and a bare namespace for what is in it; setting takes exact names only.
fn meta_request(fields: &mut Fields<'_>, code: u32) -> Result<MetaRequest> {
    let name = fields.string()?;
    let count = fields.u32()?;
    let listing = code == option::LIST_META_CONTEXT;
    let mut allocation = listing && count == 0;
    for _ in 0..count {
        let query = fields.string()?;
        allocation |= query == ALLOCATION_CONTEXT || listing && query == "base:";
    }
    Ok(MetaRequest { name, allocation })
}

/// What of a payload has not been read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (field, rest) =
            self.0.split_at_checked(len).ok_or(OptionError::Invalid("the option is cut short"))?;
        self.0 = rest;
        Ok(field)
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().expect("two bytes were taken")))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().expect("four bytes were taken")))
    }

    /// A length of four bytes, then text.
    fn string(&mut self) -> Result<String> {
        let len = self.u32()?;
        self.text(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn text(&mut self, len: usize) -> Result<String> {
        let bytes = self.take(len)?;
        if len > MAX_NAME_BYTES {
            return Err(OptionError::TooBig("the name is longer than 4096 bytes"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| OptionError::Invalid("the name is not UTF-8"))?;
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn string(text: &str) -> Vec<u8> {
        [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
    }

    #[test]
    fn fields_are_found() {
        let payload = [string("disk").as_slice(), &[0, 2, 0, 3, 0, 1]].concat();
        let request = InfoRequest { name: "disk".into(), kinds: vec![3, 1] };
        assert_eq!(parse(option::GO, &payload), Ok(ClientOption::Go(request)));
        assert!(matches!(parse(option::GO, &payload[..payload.len() - 1]), Err(OptionError::Invalid(_))));
        assert!(matches!(parse(option::LIST, &[0]), Err(OptionError::Invalid(_))));
        assert_eq!(parse(option::EXPORT_NAME, &[0xff]), Err(OptionError::Invalid("the name is not UTF-8")));
        assert!(matches!(parse(option::EXPORT_NAME, &[b'a'; 4097]), Err(OptionError::TooBig(_))));
    }

    #[test]
    fn a_namespace_lists_but_does_not_select() {
        let payload = [string("disk"), vec![0, 0, 0, 1], string("base:")].concat();
        let with = |allocation| MetaRequest { name: "disk".into(), allocation };
        assert_eq!(parse(option::LIST_META_CONTEXT, &payload), Ok(ClientOption::ListMetaContext(with(true))));
        assert_eq!(parse(option::SET_META_CONTEXT, &payload), Ok(ClientOption::SetMetaContext(with(false))));
    }

    proptest! {
        #[test]
        fn any_payload_has_an_answer(code in 0u32..12, payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(code, &payload);
        }
    }
}
