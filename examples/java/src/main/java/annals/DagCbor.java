package annals;

import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads a block of canonical DAG-CBOR, and nothing else: what is accepted would be encoded to the same bytes.
 *
 * <p>A map is a Map, a list a List, text a String, an integer a BigInteger, a float a Double, a link a Link; beside them
 * there are booleans and null. Libraries that decode and encode again do not tell short floats or long numbers apart, or put
 * members into another order; this refuses them while it reads.
 */
final class DagCbor {
  /** A link: the bytes of a CID. */
  record Link(byte[] cid) {}

  /** The block is not canonical DAG-CBOR, or deeper than any event. */
  @SuppressWarnings("serial") // it is never written
  static final class NotCanonicalException extends Exception {
    NotCanonicalException(String message) {
      super(message);
    }
  }

  private static final int DEEPEST = 513; // the block itself, and 512 levels of data
  private static final int SHORT_TAG = 24;
  private static final int LINK_TAG = 42;

  private final ByteBuffer block;

  private DagCbor(byte[] block) {
    this.block = ByteBuffer.wrap(block);
  }

  static Object decode(byte[] block) throws NotCanonicalException {
    DagCbor reader = new DagCbor(block);
    Object value = reader.value(1);
    reader.require(!reader.block.hasRemaining(), "there are bytes behind the block");
    return value;
  }

  private Object value(int depth) throws NotCanonicalException {
    int first = octet();
    int major = first >>> 5;
    int minor = first & 31;
    return switch (major) {
      case 0 -> number(minor);
      case 1 -> number(minor).not(); // -1 - n
      case 3 -> text(minor);
      case 4 -> list(minor, depth);
      case 5 -> map(minor, depth);
      case 6 -> link(minor);
      case 7 -> simple(minor);
      default -> throw new NotCanonicalException("bytes are no JSON");
    };
  }

  /** The number in an item's head, which has to be as short as can be; indefinite lengths have none. */
  private BigInteger number(int minor) throws NotCanonicalException {
    if (minor < 24) {
      return BigInteger.valueOf(minor);
    }
    require(minor <= 27, "an indefinite length, or none");
    int bytes = 1 << (minor - 24);
    BigInteger number = new BigInteger(1, take(bytes));
    BigInteger least = bytes == 1 ? BigInteger.valueOf(24) : BigInteger.ONE.shiftLeft(4 * bytes);
    require(number.compareTo(least) >= 0, "a number is longer than need be");
    return number;
  }

  private int length(int minor) throws NotCanonicalException {
    BigInteger length = number(minor);
    require(length.compareTo(BigInteger.valueOf(block.remaining())) <= 0, "the block is cut off");
    return length.intValue();
  }

  private String text(int minor) throws NotCanonicalException {
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(take(length(minor)))).toString();
    } catch (CharacterCodingException error) {
      throw new NotCanonicalException("a text is no UTF-8");
    }
  }

  private List<Object> list(int minor, int depth) throws NotCanonicalException {
    require(depth <= DEEPEST, "the block is too deep");
    int length = length(minor);
    List<Object> items = new ArrayList<>();
    for (int at = 0; at < length; at++) {
      items.add(value(depth + 1));
    }
    return items;
  }

  private Map<String, Object> map(int minor, int depth) throws NotCanonicalException {
    require(depth <= DEEPEST, "the block is too deep");
    int length = length(minor);
    Map<String, Object> members = new LinkedHashMap<>();
    byte[] before = null;
    for (int at = 0; at < length; at++) {
      int first = octet();
      require(first >>> 5 == 3, "a member's name is no text");
      int start = block.position();
      String name = text(first & 31);
      byte[] encoded = Arrays.copyOfRange(block.array(), start - 1, block.position()); // shorter names begin lower
      require(before == null || Arrays.compareUnsigned(before, encoded) < 0, "members are not sorted, or there twice");
      before = encoded;
      members.put(name, value(depth + 1));
    }
    return members;
  }

  private Link link(int minor) throws NotCanonicalException {
    require(minor == SHORT_TAG && octet() == LINK_TAG, "a tag other than 42");
    int first = octet();
    require(first >>> 5 == 2, "a link is bytes");
    byte[] content = take(length(first & 31));
    require(content.length > 0 && content[0] == 0, "a link begins with a zero byte");
    return new Link(Arrays.copyOfRange(content, 1, content.length));
  }

  private Object simple(int minor) throws NotCanonicalException {
    return switch (minor) {
      case 20 -> Boolean.FALSE;
      case 21 -> Boolean.TRUE;
      case 22 -> null;
      case 27 -> floating(ByteBuffer.wrap(take(8)).getDouble());
      default -> throw new NotCanonicalException("a short float, or no JSON");
    };
  }

  private Double floating(double value) throws NotCanonicalException {
    require(Double.isFinite(value), "no number");
    require(Double.doubleToRawLongBits(value) != Long.MIN_VALUE, "negative zero");
    return value;
  }

  private int octet() throws NotCanonicalException {
    require(block.hasRemaining(), "the block is cut off");
    return block.get() & 0xff;
  }

  private byte[] take(int length) throws NotCanonicalException {
    require(length <= block.remaining(), "the block is cut off");
    byte[] bytes = new byte[length];
    block.get(bytes);
    return bytes;
  }

  private void require(boolean holds, String otherwise) throws NotCanonicalException {
    if (!holds) {
      throw new NotCanonicalException(otherwise + ", at " + block.position());
    }
  }
}
