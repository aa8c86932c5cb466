//! Whether every number in a state is finite: a serializer that writes nothing and looks at numbers alone. What is
//! packed into bytes, as rings are, is not looked into.

use serde::ser::{self, Serialize};
use std::fmt::{self, Display};

/// Panics where a number is not finite, with the names that lead to it.
pub fn assert_finite(state: &impl Serialize) {
    if let Err(Infinite(what)) = state.serialize(Look) {
        panic!("not finite: {what}");
    }
}

#[derive(Debug)]
struct Infinite(String);

impl Display for Infinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Infinite {}

impl ser::Error for Infinite {
    fn custom<T: Display>(what: T) -> Infinite {
        Infinite(what.to_string())
    }
}

type Seen = Result<(), Infinite>;

#[derive(Clone, Copy)]
struct Look;

macro_rules! plain {
    ($($name:ident: $kind:ty),*) => { $(fn $name(self, _: $kind) -> Seen { Ok(()) })* };
}

impl ser::Serializer for Look {
    type Ok = ();
    type Error = Infinite;
    type SerializeSeq = Look;
    type SerializeTuple = Look;
    type SerializeTupleStruct = Look;
    type SerializeTupleVariant = Look;
    type SerializeMap = Look;
    type SerializeStruct = Look;
    type SerializeStructVariant = Look;

    plain!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128,
        serialize_char: char, serialize_str: &str, serialize_bytes: &[u8], serialize_unit_struct: &'static str);

    fn serialize_f32(self, value: f32) -> Seen {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Seen {
        if value.is_finite() { Ok(()) } else { Err(Infinite(value.to_string())) }
    }

    fn serialize_none(self) -> Seen {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Seen {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Seen {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Seen {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Seen {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Seen {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Look, Infinite> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Look, Infinite> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Look, Infinite> {
        Ok(self)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Look, Infinite> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Look, Infinite> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Look, Infinite> {
        Ok(self)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Look, Infinite> {
        Ok(self)
    }
}

macro_rules! many {
    ($($kind:ident $name:ident),*) => { $(impl ser::$kind for Look {
        type Ok = ();
        type Error = Infinite;
        fn $name<T: Serialize + ?Sized>(&mut self, value: &T) -> Seen { value.serialize(*self) }
        fn end(self) -> Seen { Ok(()) }
    })* };
}

many!(SerializeSeq serialize_element, SerializeTuple serialize_element, SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field);

macro_rules! named {
    ($($kind:ident),*) => { $(impl ser::$kind for Look {
        type Ok = ();
        type Error = Infinite;
        fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Seen {
            value.serialize(*self).map_err(|Infinite(what)| Infinite(format!("{name} {what}")))
        }
        fn end(self) -> Seen { Ok(()) }
    })* };
}

named!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Look {
    type Ok = ();
    type Error = Infinite;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Seen {
        key.serialize(*self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Seen {
        value.serialize(*self)
    }

    fn end(self) -> Seen {
        Ok(())
    }
}
