//! Maps to begin with: what a file tells is proposed, what it does not is asked, and nobody's name is shown.

use records::ResourceType;
use tables::draft_map;

fn draft(text: &str) -> String {
    draft_map(text.as_bytes(), None, ResourceType::Patient).unwrap()
}

#[test]
fn columns_are_guessed_by_name_and_by_what_their_cells_look_like() {
    let map =
        draft("MRN;Last Name;FIRST;DOB;Sex;CITY;Shoe\n1;Doe;Jane;1/15/1990;F;Bonn;43\n2;Roe;Max;2/1/1985;M;Köln;44\n");
    for line in [
        "\"MRN\" = \"id\"",
        "\"Last Name\" = \"lastName\"",
        "\"FIRST\" = \"firstName\"",
        "\"DOB\" = { to = \"birthDate\", format = \"%m/%d/%Y\" }",
        "\"Sex\" = { to = \"gender\", values = { \"F\" = \"female\", \"M\" = \"male\" } }",
        "\"CITY\" = \"address.city\"",
        "# \"Shoe\" = { drop = true }",
    ] {
        assert!(map.contains(line), "{line}:\n{map}");
    }
}

#[test]
fn what_the_file_does_not_tell_is_left_to_whoever_knows() {
    let map = draft("lastName,DOB\nDoe,1/2/1990\n");
    assert!(map.contains("format = \"%m/%d/%Y\" or format = \"%d/%m/%Y\""), "{map}");
    // What is said of some cells is not said of the others.
    let mixed = draft("firstName,lastName,birthDate\nA,B,1990-01-15\nC,D,2/1/1990\n");
    assert!(mixed.contains("does not tell") && mixed.contains("%m/%d/%Y") && mixed.contains("%d/%m/%Y"), "{mixed}");
    assert!(map.contains("# \"firstName\" = "), "{map}");
    assert!(draft("firstName,lastName,birthDate\nA,B,1/15/90\n").contains("century"));
}

#[test]
fn dates_in_several_formats_are_proposed_with_all_of_them() {
    let map = draft("firstName,lastName,DOB\nA,B,1990-01-15\nC,D,1/15/1990\nE,F,2/1/1990\nG,H,15-Jan-1990\n");
    let expected = "formats = [\"%Y-%m-%d\", \"%m/%d/%Y\", \"%d-%b-%Y\"] }  # by its name";
    assert!(map.contains(expected), "{map}");
    // Formats that read some texts as different days are none to propose together.
    let both = draft("firstName,lastName,DOB\nA,B,13/01/1990\nC,D,01/13/1990\nE,F,02/03/1990\n");
    assert!(both.contains("does not tell") && !both.contains("formats ="), "{both}");
    let dots = draft("firstName,lastName,DOB\nA,B,15.01.1990\nC,D,1/2/1990\n");
    assert!(dots.contains("formats = [\"%d.%m.%Y\", …] with one of \"%m/%d/%Y\" and \"%d/%m/%Y\""), "{dots}");
    for as_is in ["1990", "1991-01", "1990-01-15"] {
        let map = draft(&format!("firstName,lastName,birthDate\nA,B,{as_is}\nC,D,1990-02-01\n"));
        assert!(map.contains("\"birthDate\" = \"birthDate\""), "{map}");
    }
    let none = draft("firstName,lastName,DOB\nA,B,1990-01-15\nC,D,soon\n");
    assert!(none.contains("not all dates"), "{none}");
    let midnight = draft("firstName,lastName,DOB\nA,B,1990-01-15 00:00\n");
    assert!(midnight.contains("format = \"%Y-%m-%d %H:%M\"") && !midnight.contains("timezone"), "{midnight}");
}

#[test]
fn what_stands_for_no_value_is_said_of_its_column_and_never_of_names() {
    let map = draft("firstName,lastName,birthDate,gender,maritalStatus\nNil,Null,n/a,-,None\n伟,Na,1990-01-01,F,S\n");
    assert!(map.contains("\"birthDate\" = { to = \"birthDate\", nulls = [\"n/a\"] }"), "{map}");
    assert!(
        map.contains("if they are no values, add nulls = [\"None\"]") && map.contains("nulls = [\"-\"] }"),
        "{map}"
    );
    assert!(!map.contains("Nil") && !map.contains("\"Na\"") && !map.contains("Null") && !map.contains('伟'), "{map}");
}

#[test]
fn few_values_are_listed_where_they_are_codes() {
    let map = draft("firstName,lastName,VIP,Home Town,Ward\nA,B,Y,Bonn,12\nC,D,N,Köln,7\n");
    assert!(map.contains("; its values are \"N\", \"Y\"") && map.contains("; its values are \"12\", \"7\""), "{map}");
    assert!(!map.contains("Bonn"), "{map}");
}

#[test]
fn no_cell_that_could_be_a_name_is_shown() {
    let map = draft("firstName,lastName,gender,email\nAnn,Xyzzy,Xyzzy,plugh\nBob,Xyzzy,F,plugh\n");
    assert!(!map.contains("Xyzzy") && !map.contains("Ann") && !map.contains("plugh"), "{map}");
    assert!(map.contains("\"F\" = \"female\"") && map.contains("1 values more are not shown"), "{map}");
}
