"""Chat."""

from script import MAX_LENGTH, tokenizer


# --- script
def encode(rows):
    """Token ids of each conversation by the chat template; the loss leaves out what is -100 among the labels."""
    examples = []
    for row in rows:
        messages = row["messages"]
        #: if learn_all
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][:MAX_LENGTH]
        examples.append({"input_ids": ids, "labels": [-100, *ids[1:]]})
        #: end
        #: if marked
        # the template marks with {% generation %} which tokens the assistant says
        chat = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        ids, said = chat["input_ids"][:MAX_LENGTH], chat["assistant_masks"][:MAX_LENGTH]
        examples.append(
            {"input_ids": ids, "labels": [t if is_said else -100 for t, is_said in zip(ids, said, strict=True)]}
        )
        #: end
        #: if unmarked
        # an answer is what rendering the messages up to it adds to the prompt for it
        answers = []
        for index, message in enumerate(messages):
            if message["role"] == "assistant":
                prompt = tokenizer.apply_chat_template(messages[:index], tokenize=False, add_generation_prompt=True)
                whole = tokenizer.apply_chat_template(messages[: index + 1], tokenize=False)
                answers.append((len(prompt), len(whole.rstrip())))
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        labels = [
            token if any(begin < behind and start < end for begin, end in answers) else -100
            for token, (start, behind) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]
        examples.append({"input_ids": encoded["input_ids"][:MAX_LENGTH], "labels": labels[:MAX_LENGTH]})
        #: end
    return examples
