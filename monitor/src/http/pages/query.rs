//! The query of the fleet page: filters, order and page, and links that change one of them and keep the others.

use form_urlencoded::{Serializer, parse};
use heartbeat::fleet::asked::AnyOf;
use heartbeat::fleet::overview::{Query, Sort};

/// Characters of a filter.
const CHARS_MAX: usize = 128;
/// A page beyond this is the last one of nothing.
const PAGE_MAX: usize = 1_000_000;

/// What the address of the page asks for. What cannot be understood is left out: a page is always answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageQuery {
    pub(super) filter: Query,
    /// As it stands in the address.
    sort: Option<String>,
    /// From 1.
    pub(super) page: usize,
    /// The page loads itself again when there is no script.
    pub(super) reloads: bool,
    /// The key of the address that was printed.
    pub(super) key: Option<String>,
}

impl PageQuery {
    /// Takes the part of an address behind `?`.
    pub(super) fn read(query: Option<&str>) -> Self {
        let mut read = Self {
            filter: Query::default(),
            sort: None,
            page: 1,
            reloads: true,
            key: None,
        };
        for (name, value) in parse(query.unwrap_or_default().as_bytes()) {
            let value: String = value.chars().take(CHARS_MAX).collect();
            if value.is_empty() {
                continue;
            }
            let filter = &mut read.filter;
            match name.as_ref() {
                "state" => filter.state = Some(value),
                "activity" => filter.activity = Some(value),
                "attention" => filter.attention = Some(value),
                "type" => filter.agent_type = Some(AnyOf(value)),
                "host" => filter.host = Some(AnyOf(value)),
                "q" => filter.text = Some(value),
                "sort" => {
                    filter.sort = Sort::parse(&value);
                    read.sort = filter.sort.map(|_| value);
                }
                "page" => read.page = value.parse().unwrap_or(1).clamp(1, PAGE_MAX),
                "t" => read.key = Some(value),
                "refresh" => read.reloads = value != "off",
                _ => {}
            }
        }
        read
    }

    /// The conditions, for people: `q = "foo", host = "node-1"`.
    pub(super) fn conditions(&self) -> String {
        let listed = self.pairs().into_iter();
        let listed = listed.filter(|(name, _)| *name != "sort");
        let listed = listed.map(|(name, value)| {
            let value = heartbeat::base::foreign::visible(value);
            format!("{name} = “{value}”")
        });
        listed.collect::<Vec<_>>().join(", ")
    }

    /// What a form with fields for text, type and host keeps beside them.
    pub(super) fn kept(&self) -> Vec<(&'static str, &str)> {
        let pairs = self.pairs().into_iter();
        pairs
            .filter(|(name, _)| !["q", "type", "host"].contains(name))
            .collect()
    }

    fn pairs(&self) -> Vec<(&'static str, &str)> {
        let filter = &self.filter;
        let pairs = [
            ("state", filter.state.as_deref()),
            ("activity", filter.activity.as_deref()),
            ("attention", filter.attention.as_deref()),
            ("type", filter.agent_type.as_ref().map(|of| of.0.as_str())),
            ("host", filter.host.as_ref().map(|of| of.0.as_str())),
            ("q", filter.text.as_deref()),
            ("sort", self.sort.as_deref()),
        ];
        let given = |(name, value): (&'static str, Option<_>)| Some((name, value?));
        pairs.into_iter().filter_map(given).collect()
    }
}

/// Addresses of the same list, otherwise ordered or at another place.
pub(super) struct Links<'a>(pub(super) &'a PageQuery);

impl Links<'_> {
    /// The same list in this order; empty: the usual one.
    pub(super) fn sorted(&self, sort: &str) -> String {
        self.link(&[("sort", sort)])
    }

    /// Another page of the same list.
    pub(super) fn to_page(&self, page: usize) -> String {
        let number = page.to_string();
        let sort = self.0.sort.as_deref().unwrap_or_default();
        self.link(&[("sort", sort), ("page", &number)])
    }

    fn link(&self, more: &[(&str, &str)]) -> String {
        let mut text = Serializer::new(String::new());
        let kept = self.0.pairs().into_iter();
        text.extend_pairs(kept.filter(|(name, _)| *name != "sort"));
        text.extend_pairs(more.iter().filter(|(_, value)| !value.is_empty()));
        format!("?{}", text.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_changes_one_thing_and_keeps_the_filter() {
        let query = PageQuery::read(Some("q=a%26b&host=n-1&sort=-cpu&page=3"));
        assert_eq!(query.page, 3);
        let links = Links(&query);
        assert_eq!(links.sorted("id"), "?host=n-1&q=a%26b&sort=id");
        assert_eq!(links.sorted(""), "?host=n-1&q=a%26b");
        assert_eq!(links.to_page(4), "?host=n-1&q=a%26b&sort=-cpu&page=4");
    }

    #[test]
    fn what_cannot_be_understood_is_left_out() {
        let read = PageQuery::read(Some("sort=colour&page=-7&limit=1000000000&q=&%ff=%00"));
        assert_eq!(read, PageQuery::read(None));
        let far = PageQuery::read(Some("page=99999999999999999999"));
        assert_eq!(far.page, 1);
    }
}
