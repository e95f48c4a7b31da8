"""A model that knows words and nothing else, behind llama.cpp's own server: `python model.py PORT FOLDER TEXT...`, embeddings at
PORT + 1.

It is a real transformer file (GGUF) in which attention and feed-forward add nothing: what it says next depends on its last word
alone, with the frequencies of the texts that it was made of. So it speaks fluently, in the words of the field, bound to whatever
schema is asked for, and everything that it says is made up: a model that answers wrongly, at the cost of no download.
"""

import re
import sys
import time
from collections import Counter
from pathlib import Path

import gguf
import numpy
import xllamacpp as llama

WIDTH, HEADS, CONTEXT, WORDS = 64, 2, 32768, 900
SPACE = "\u2581"  # How vocabularies of this kind write a space.
SYNTAX = ['"', '",', '":', '"]', '"],', "},", "],", "}]", "}],"]


def vocabulary(text):
    """The words of a text that come most, with their spaces, beside every byte and sign."""
    words = Counter(re.findall(r" ?[A-Za-z]+", text))
    pieces = [piece.replace(" ", SPACE) for piece, _ in words.most_common(WORDS)]
    signs = SYNTAX + [chr(code) for code in range(33, 127)]
    pieces = list(dict.fromkeys(signs + pieces))
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + pieces
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * len(pieces)
    return tokens, kinds


def follows(tokens, text):
    """How likely, in logarithms, each token is to follow each."""
    place = {token: index for index, token in enumerate(tokens)}
    counts = numpy.full((len(tokens), len(tokens)), 0.02)
    found = [place.get(piece.replace(" ", SPACE)) for piece in re.findall(r" ?[A-Za-z]+|.", text)]
    for one, other in zip(found, found[1:]):
        if one is not None and other is not None:
            counts[one, other] += 1
    counts[:, 3:259] = 1e-6  # Whatever byte: only where a schema leaves no other.
    words = [index for token, index in place.items() if token.strip(SPACE).isalpha() and len(token) > 3]
    counts[place['"'], :] = 0.02
    counts[place['"'], words] += 5  # A text begins with a word,
    counts[:, place["."]] += 0.5  # has a number now and then, and an end,
    counts[:, [place[digit] for digit in "1234567890"]] += 0.05
    counts[place["."], [place['"'], place['",']]] += 300
    counts[place["["], [place["{"], place['"']]] += 300  # and lists are not empty, nor long.
    counts[place["["], place["]"]] = 1e-6
    digits = [place[digit] for digit in "1234567890"]
    for end in ['"]', '"],']:
        counts[digits, place[end]] += 2
    brackets = [index for token, index in place.items() if token[0] in "]}" and len(token) < 4]
    counts[:, brackets] = 0.001
    for one in [*brackets, place['"'], place['"]']]:
        counts[one, brackets] += 2
    return numpy.log(counts / counts.sum(axis=1, keepdims=True))


def write(path, text):
    """The model, as a file."""
    tokens, kinds = vocabulary(text)
    left, sizes, right = numpy.linalg.svd(follows(tokens, text), full_matrices=False)
    root = numpy.sqrt(sizes[:WIDTH])
    embedding, output = left[:, :WIDTH] * root, right[:WIDTH].T * root
    # The norm before the output takes lengths away: one for all is put back in.
    lengths = numpy.linalg.norm(embedding, axis=1, keepdims=True)
    embedding = embedding / lengths
    output *= lengths.mean() / numpy.sqrt(WIDTH)

    file = gguf.GGUFWriter(str(path), "llama")
    file.add_context_length(CONTEXT)
    file.add_embedding_length(WIDTH)
    file.add_block_count(1)
    file.add_feed_forward_length(WIDTH)
    file.add_head_count(HEADS)
    file.add_head_count_kv(1)
    file.add_rope_dimension_count(WIDTH // HEADS)
    file.add_layer_norm_rms_eps(1e-6)
    file.add_vocab_size(len(tokens))
    file.add_tokenizer_model("llama")
    file.add_token_list(tokens)
    file.add_token_scores([-float(index) for index in range(len(tokens))])
    file.add_token_types(kinds)
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_unk_token_id(0)
    file.add_chat_template("{% for m in messages %}{{ m['content'] }}\n{% endfor %}")
    tensors = {
        "token_embd": embedding,
        "output": output,
        "output_norm": numpy.ones(WIDTH),
        "blk.0.attn_norm": numpy.ones(WIDTH),
        "blk.0.ffn_norm": numpy.ones(WIDTH),
        "blk.0.attn_q": numpy.zeros((WIDTH, WIDTH)),
        "blk.0.attn_k": numpy.zeros((WIDTH // HEADS, WIDTH)),
        "blk.0.attn_v": numpy.zeros((WIDTH // HEADS, WIDTH)),
        "blk.0.attn_output": numpy.zeros((WIDTH, WIDTH)),
        "blk.0.ffn_gate": numpy.zeros((WIDTH, WIDTH)),
        "blk.0.ffn_up": numpy.zeros((WIDTH, WIDTH)),
        "blk.0.ffn_down": numpy.zeros((WIDTH, WIDTH)),
    }
    for name, values in tensors.items():
        file.add_tensor(f"{name}.weight", values.astype(numpy.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def serve(path, port, embedding=False):
    """llama.cpp's server with the model: for chats, or for embeddings, which are the mean of a text's words."""
    params = llama.CommonParams()
    params.model.path = str(path)
    params.port = port
    params.n_ctx = CONTEXT
    params.n_parallel = 1
    params.warmup = False
    # More of them would wait for each other where the machine has other work.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    # Whoever asks for the likeliest word each time is not told the same one for ever.
    params.sampling.penalty_last_n = 256
    params.sampling.penalty_repeat = 1.3
    if embedding:
        params.embedding = True
        params.pooling_type = llama.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.n_batch = params.n_ubatch = CONTEXT
    return llama.Server(params)


def main():
    port, folder, texts = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    path = folder / "words.gguf"
    write(path, "\n".join(Path(text).read_text() for text in texts))
    servers = [serve(path, port), serve(path, port + 1, embedding=True)]
    print([server.listening_address for server in servers], flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
