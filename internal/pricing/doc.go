// Package pricing holds the price book: which price a quantity of a model has
// for a customer at an instant.
//
// A book is a list of entries. An entry names a model, or many by a glob, maybe
// a customer, the period in which it holds, and prices of quantities per so many
// units. Each quantity is looked up by itself (Book.Find): the customer's own
// price before that for all, and the model's name before a glob. Two prices of
// the same rank are an error, never a choice. A period without an end lasts until
// the same model and customer have a newer price of that quantity.
//
// A glob has "*" for any run of characters, also none and also with slashes,
// which model names are full of, and "?" for one character; everything else
// stands for itself. The empty model, which is what usage of an unknown model
// has, is matched by nothing: its usage stays unpriced and is seen.
//
// Canonical is the document that the store keeps, Parse reads it, and Check says
// what is wrong or odd before a book comes into force.
package pricing
