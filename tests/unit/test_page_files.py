"""What of the web page's sources is sent: all but what only their readers need."""

import pytest

from service.web.page_files import squeeze


@pytest.mark.parametrize(
    ("source", "sent"),
    [
        ("/** Says it. */\n  // why\n  say(text, 2); // at once\n", "say(text,2);\n"),
        ('const { a, b } = await (await c("x  =  //y")).json();', 'const{a,b}=await(await c("x  =  //y")).json();'),
        ("const far = `${a}, ${ b }: // no comment`;", "const far=`${a}, ${ b }: // no comment`;"),
        (r'say("\" = "); // "', r'say("\" = ");'),
        ("const a = 1;\nexport const b = [\n  a,\n];\n", "const a=1;export const b=[a,];"),
        ("x = /** @type {A} */ (y) - -z;", "x=(y)- -z;"),
    ],
)
def test_script_keeps_its_strings_and_loses_what_only_readers_need(source: str, sent: str) -> None:
    assert squeeze(source, ".js") == sent


def test_style_sheet_keeps_the_spaces_that_mean_something() -> None:
    source = '/* wide */\n.a :hover > b, i::after { content: " > "; inset: auto 0 0; }\n'
    assert squeeze(source, ".css") == '.a :hover>b,i::after{content:" > ";inset:auto 0 0;}'
