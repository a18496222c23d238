"""Reads the text of a document within the limits on its length, its tokens, their nesting and its numbers."""

from __future__ import annotations

from typing import Final

from graphql import DocumentNode, GraphQLError, GraphQLSyntaxError, Lexer, Location, Source, Token, TokenKind, parse

from app.execution.limits import Limits, check_nesting, check_text, check_tokens

_OPENING: Final = frozenset({TokenKind.BRACE_L, TokenKind.BRACKET_L, TokenKind.PAREN_L})
_CLOSING: Final = frozenset({TokenKind.BRACE_R, TokenKind.BRACKET_R, TokenKind.PAREN_R})
_NUMBERS: Final = frozenset({TokenKind.INT, TokenKind.FLOAT})


def parse_document(text: str, limits: Limits) -> DocumentNode:
    """Return the document of a text. QueryTooExpensiveError: it is longer or nested deeper than is allowed; GraphQLSyntaxError."""
    check_text(text, limits)
    try:
        document = parse(text, max_tokens=limits.tokens)
    except GraphQLSyntaxError:
        # The library gives up with the same kind of error, so what it gave up for is counted again.
        first = _first_tokens(text, limits.tokens)
        tokens = nesting = deepest = 0
        token = first.next
        while token is not None and token.kind is not TokenKind.EOF:
            tokens += 1
            nesting += (token.kind in _OPENING) - (token.kind in _CLOSING)
            deepest = max(deepest, nesting)
            token = token.next
        check_nesting(deepest, limits)
        check_tokens(tokens, limits)
        raise
    if document.loc is not None:
        _check_numbers(document.loc, limits.digits)
    return document


def _check_numbers(whole: Location, digits: int) -> None:
    """GraphQLError: a number has more digits than may be read."""
    token: Token | None = whole.start_token
    while token is not None:
        if token.kind in _NUMBERS and token.end - token.start > digits:
            raise GraphQLError(f"a number has more than {digits} characters; no more are allowed", None, whole.source, [token.start])
        token = token.next


def _first_tokens(text: str, count: int) -> Token:
    """Return what stands before the first token; those after it, comments too, hang on it as far as they were read."""
    lexer = Lexer(Source(text))
    first = lexer.token
    try:
        for _ in range(count + 1):
            if lexer.advance().kind is TokenKind.EOF:
                break
    except GraphQLSyntaxError:
        pass  # of the text that cannot be read, what comes before
    return first
