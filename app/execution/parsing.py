"""Reads the text of a document within the limits on its length, its tokens, their nesting and its numbers."""

from __future__ import annotations

from typing import Final

from graphql import DocumentNode, GraphQLError, GraphQLSyntaxError, Lexer, Source, Token, TokenKind, parse

from app.execution.limits import Limits, check_nesting, check_text, check_tokens

_STEPS: Final = {
    **dict.fromkeys((TokenKind.BRACE_L, TokenKind.BRACKET_L, TokenKind.PAREN_L), 1),
    **dict.fromkeys((TokenKind.BRACE_R, TokenKind.BRACKET_R, TokenKind.PAREN_R), -1),
}
_NUMBERS: Final = frozenset({TokenKind.INT, TokenKind.FLOAT})


def parse_document(text: str, limits: Limits) -> DocumentNode:
    """Return the document of a text.

    QueryTooExpensiveError: it is longer or nested deeper than is allowed; GraphQLError: a number is too long; GraphQLSyntaxError.
    """
    check_text(text, limits)
    source = Source(text)
    try:
        document = parse(source, max_tokens=limits.tokens)
    except GraphQLSyntaxError:
        # The library gives up on long and deep texts with the same kind of error as on others, so they are told apart here.
        _check_tokens(_first_tokens(source, limits.tokens), source, limits)
        raise
    if document.loc is not None:
        _check_tokens(document.loc.start_token, source, limits)
    return document


def _first_tokens(source: Source, count: int) -> Token:
    """Return what stands before the first token; those after it, comments too, hang on it as far as they were read."""
    lexer = Lexer(source)
    first = lexer.token
    try:
        for _ in range(count + 1):
            if lexer.advance().kind is TokenKind.EOF:
                break
    except GraphQLSyntaxError:
        pass  # of the text that cannot be read, what comes before
    return first


def _check_tokens(first: Token, source: Source, limits: Limits) -> None:
    """Judge the tokens that hang on the first one. Errors as `parse_document`."""
    count = nesting = deepest = 0
    number: Token | None = None
    token = first.next
    while token is not None and token.kind is not TokenKind.EOF:
        count += 1
        step = _STEPS.get(token.kind)
        if step is not None:
            nesting += step
            deepest = max(deepest, nesting)
        elif token.kind in _NUMBERS and token.end - token.start > limits.digits:
            number = number or token
        token = token.next
    check_nesting(deepest, limits)
    check_tokens(count, limits)
    if number is not None:
        message = f"a number has more than {limits.digits} characters; no more are allowed"
        raise GraphQLError(message, source=source, positions=[number.start])
