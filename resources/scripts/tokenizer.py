"""The tokenizer of a pretrained model, or the one beside the script."""

from script import CHAT_TEMPLATE, HERE, MODEL, PAD_TOKEN, SOURCE_LANGUAGE, TARGET_LANGUAGE
from transformers import AutoTokenizer

# --- script
#: if scratch
tokenizer = AutoTokenizer.from_pretrained(HERE / "tokenizer")  # learned from the training texts
#: else
tokenizer = AutoTokenizer.from_pretrained(MODEL)
#: end
#: if pad_token
tokenizer.pad_token = PAD_TOKEN  # the model was pretrained without one
#: end
#: if chat_template
tokenizer.chat_template = CHAT_TEMPLATE  # it has none of its own
#: end
#: if languages
tokenizer.src_lang, tokenizer.tgt_lang = SOURCE_LANGUAGE, TARGET_LANGUAGE
#: end
